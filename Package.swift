// swift-tools-version: 6.1
import PackageDescription

// Named crash points and injected defects exist only in builds made for the fault suite
// (`DATABUS_FAULTS=1 swift build --scratch-path .build-faults`).
let faults: [SwiftSetting] =
  Context.environment["DATABUS_FAULTS"] == nil ? [] : [.define("DATABUS_FAULTS")]

// An async function runs where its caller runs: a batch costs no hop to the shared pool and back.
let swift: [SwiftSetting] =
  [.swiftLanguageMode(.v6), .enableUpcomingFeature("NonisolatedNonsendingByDefault")] + faults

/// The targets that write methods which return a `Span` need the feature; their clients do not.
let swiftWithLifetimes: [SwiftSetting] = swift + [.enableExperimentalFeature("Lifetimes")]

let package = Package(
  name: "databus",
  products: [
    .executable(name: "databus", targets: ["databus"]),
    .library(name: "DatabusCore", targets: ["DatabusCore"]),
    .library(name: "Dispatcher", targets: ["Dispatcher"]),
    .library(name: "DatabusCommandLine", targets: ["DatabusCommandLine"]),
    .library(name: "DatabusTestKit", targets: ["DatabusTestKit"]),
    .library(name: "MemoryTransport", targets: ["MemoryTransport"]),
    .library(name: "FileTransport", targets: ["FileTransport"]),
    .library(name: "SQLiteLogTransport", targets: ["SQLiteLogTransport"]),
    .library(name: "KafkaTransport", targets: ["KafkaTransport"]),
    .library(name: "MemoryState", targets: ["MemoryState"]),
    .library(name: "SQLiteState", targets: ["SQLiteState"]),
    .library(name: "RedisState", targets: ["RedisState"]),
  ],
  targets: [
    // The C libraries of the distribution.
    .systemLibrary(
      name: "CSQLite", path: "Sources/CLibraries/CSQLite", pkgConfig: "sqlite3",
      providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(
      name: "CCrypto", path: "Sources/CLibraries/CCrypto", pkgConfig: "libcrypto",
      providers: [.apt(["libssl-dev"])]),
    .systemLibrary(
      name: "CRdkafka", path: "Sources/CLibraries/CRdkafka", pkgConfig: "rdkafka",
      providers: [.apt(["librdkafka-dev"])]),
    // Not by pkg-config: hiredis.pc has a flag (-D_FILE_OFFSET_BITS=64) that SwiftPM refuses, with a warning at each build.
    .systemLibrary(name: "CHiredis", path: "Sources/CLibraries/CHiredis"),
    .systemLibrary(
      name: "CMicroHTTPD", path: "Sources/CLibraries/CMicroHTTPD", pkgConfig: "libmicrohttpd",
      providers: [.apt(["libmicrohttpd-dev"])]),
    .systemLibrary(
      name: "CCurl", path: "Sources/CLibraries/CCurl", pkgConfig: "libcurl",
      providers: [.apt(["libcurl4-openssl-dev"])]),
    .target(name: "CSystem", path: "Sources/CLibraries/CSystem"),
    .target(
      name: "CSimdJSON", path: "Sources/CLibraries/CSimdJSON",
      linkerSettings: [.linkedLibrary("simdjson")]),

    // The engine.
    .target(
      name: "DatabusCore", dependencies: ["CSimdJSON", "CCrypto", "CSystem"],
      swiftSettings: swiftWithLifetimes),

    // What several targets need of one C library.
    .target(
      name: "SQLiteClient", dependencies: ["CSQLite"], path: "Sources/Clients/SQLiteClient",
      swiftSettings: swift),
    .target(
      name: "HTTPServer", dependencies: ["CMicroHTTPD", "CSystem"], path: "Sources/Clients/HTTPServer",
      swiftSettings: swift),

    .target(
      name: "RedisClient", dependencies: ["CHiredis", "CCrypto"], path: "Sources/Clients/RedisClient",
      swiftSettings: swift),

    .target(
      name: "HTTPClient", dependencies: ["CCurl", "CSystem"], path: "Sources/Clients/HTTPClient",
      swiftSettings: swift),

    // The dispatcher of results. What it remembers deliveries in, and what it sends them by, are targets of their own.
    .target(
      name: "Dispatcher", dependencies: ["DatabusCore", "CCrypto", "CSystem"], swiftSettings: swift),
    .target(
      name: "HTTPDelivery", dependencies: ["Dispatcher", "HTTPClient"], path: "Sources/DeliveryChannels/HTTP",
      swiftSettings: swift),
    .target(
      name: "RedisDeduplication", dependencies: ["Dispatcher", "RedisClient"],
      path: "Sources/DeduplicationStores/Redis", swiftSettings: swift),
    .target(
      name: "SQLiteDeduplication", dependencies: ["Dispatcher", "SQLiteClient"],
      path: "Sources/DeduplicationStores/SQLite", swiftSettings: swift),
    .target(
      name: "AttemptLog", dependencies: ["DatabusCore", "Dispatcher", "SQLiteClient"], swiftSettings: swift),

    // Transports and state backends: they know the core and never each other.
    .target(
      name: "MemoryTransport", dependencies: ["DatabusCore"], path: "Sources/Transports/Memory",
      swiftSettings: swift),
    .target(
      name: "FileTransport", dependencies: ["DatabusCore"], path: "Sources/Transports/File",
      swiftSettings: swift),
    .target(
      name: "SQLiteLogTransport", dependencies: ["DatabusCore", "SQLiteClient"],
      path: "Sources/Transports/SQLiteLog", swiftSettings: swift),
    .target(
      name: "KafkaTransport", dependencies: ["DatabusCore", "CRdkafka"], path: "Sources/Transports/Kafka",
      swiftSettings: swift),
    .target(
      name: "MemoryState", dependencies: ["DatabusCore"], path: "Sources/StateBackends/Memory",
      swiftSettings: swift),
    .target(
      name: "SQLiteState", dependencies: ["DatabusCore", "SQLiteClient"],
      path: "Sources/StateBackends/SQLite", swiftSettings: swift),
    .target(
      name: "RedisState", dependencies: ["DatabusCore", "RedisClient"],
      path: "Sources/StateBackends/Redis", swiftSettings: swift),

    .target(
      name: "DatabusTestKit", dependencies: ["DatabusCore", "Dispatcher"], swiftSettings: swift),
    .target(
      name: "DatabusCommandLine",
      dependencies: [
        "DatabusCore", "MemoryTransport", "FileTransport", "SQLiteLogTransport", "KafkaTransport", "MemoryState",
        "SQLiteState", "RedisState", "RedisClient", "HTTPServer", "Dispatcher", "HTTPDelivery", "RedisDeduplication",
        "SQLiteDeduplication", "AttemptLog",
      ], swiftSettings: swift),
    .executableTarget(
      name: "databus", dependencies: ["DatabusCommandLine"], path: "Sources/Databus",
      swiftSettings: swift),
    .executableTarget(
      name: "databus-bench",
      dependencies: [
        "DatabusCore", "CSimdJSON", "CSystem", "MemoryTransport", "SQLiteLogTransport", "SQLiteClient",
        "MemoryState", "SQLiteState", "KafkaFixture", "RedisServerFixture", "HTTPServer", "CRdkafka",
      ], path: "Benchmarks", exclude: ["CurlLoop", "KafkaPassThrough"], swiftSettings: swift),
    // What the router over Kafka is measured against.
    .executableTarget(
      name: "kafka-pass-through", dependencies: ["CRdkafka"], path: "Benchmarks/KafkaPassThrough"),
    // What sending over HTTP is measured against.
    .executableTarget(name: "curl-loop", dependencies: ["CCurl"], path: "Benchmarks/CurlLoop"),

    // What tests of several targets share.
    .target(name: "RawHTTPClient", path: "Tests/Support/RawHTTPClient", swiftSettings: swift),
    .target(
      name: "KafkaFixture", dependencies: ["CRdkafka"], path: "Tests/Support/KafkaFixture", swiftSettings: swift),

    // Tests: one folder per target, plus the suites that run real processes.
    .testTarget(
      name: "DatabusCoreTests",
      dependencies: ["DatabusCore", "MemoryTransport", "MemoryState"], swiftSettings: swift),
    .testTarget(
      name: "MemoryTransportTests", dependencies: ["MemoryTransport", "DatabusTestKit"],
      swiftSettings: swift),
    .testTarget(
      name: "FileTransportTests", dependencies: ["FileTransport", "MemoryState", "DatabusTestKit"],
      swiftSettings: swift),
    .testTarget(
      name: "DispatcherTests",
      dependencies: ["Dispatcher", "MemoryTransport", "MemoryState", "SQLiteDeduplication"], swiftSettings: swift),
    .testTarget(
      name: "HTTPServerTests", dependencies: ["HTTPServer", "RawHTTPClient"], swiftSettings: swift),
    .testTarget(
      name: "HTTPClientTests", dependencies: ["HTTPClient", "HTTPServer"], swiftSettings: swift),
    .testTarget(
      name: "HTTPDeliveryTests",
      dependencies: ["HTTPDelivery", "Dispatcher", "HTTPClient", "HTTPServer", "DatabusTestKit"], swiftSettings: swift),
    .testTarget(
      name: "SQLiteClientTests", dependencies: ["SQLiteClient"], swiftSettings: swift),
    .testTarget(
      name: "SQLiteLogTransportTests", dependencies: ["SQLiteLogTransport", "SQLiteClient", "DatabusTestKit"],
      swiftSettings: swift),
    .testTarget(
      name: "KafkaTransportTests", dependencies: ["KafkaTransport", "KafkaFixture", "DatabusTestKit"],
      swiftSettings: swift),
    .testTarget(
      name: "MemoryStateTests", dependencies: ["MemoryState", "DatabusTestKit"],
      swiftSettings: swift),
    .testTarget(
      name: "SQLiteStateTests", dependencies: ["SQLiteState", "DatabusTestKit"],
      swiftSettings: swift),
    .target(
      name: "RedisServerFixture", path: "Tests/Support/RedisServer", swiftSettings: swift),
    .testTarget(
      name: "RedisClientTests", dependencies: ["RedisClient", "RedisServerFixture"], swiftSettings: swift),
    .testTarget(
      name: "RedisStateTests",
      dependencies: ["RedisState", "RedisClient", "RedisServerFixture", "DatabusTestKit"], swiftSettings: swift),
    .testTarget(
      name: "SQLiteDeduplicationTests",
      dependencies: ["SQLiteDeduplication", "SQLiteClient", "MemoryTransport", "DatabusTestKit"], swiftSettings: swift),
    .testTarget(
      name: "AttemptLogTests",
      dependencies: ["AttemptLog", "SQLiteClient"], swiftSettings: swift),
    .testTarget(
      name: "RedisDeduplicationTests",
      dependencies: ["RedisDeduplication", "RedisClient", "RedisServerFixture", "DatabusTestKit"], swiftSettings: swift),
    .testTarget(
      name: "DatabusTestKitTests",
      dependencies: ["DatabusTestKit", "MemoryTransport", "MemoryState"], swiftSettings: swift),
    .testTarget(
      name: "DatabusCommandLineTests",
      dependencies: [
        "DatabusCommandLine", "HTTPServer", "databus", "RedisServerFixture", "KafkaFixture", "RawHTTPClient",
      ],
      swiftSettings: swift),
    .testTarget(
      name: "IntegrationTests", dependencies: ["DatabusCore", "Dispatcher", "KafkaFixture", "RedisServerFixture"],
      path: "Tests/Integration", swiftSettings: swift),
    .testTarget(
      name: "FaultTests",
      dependencies: [
        "DatabusCore", "SQLiteClient", "SQLiteLogTransport", "SQLiteState", "KafkaTransport", "KafkaFixture",
        "RedisServerFixture", "RawHTTPClient",
      ],
      path: "Tests/Faults", swiftSettings: swift),
  ],
  cxxLanguageStandard: .cxx17
)
