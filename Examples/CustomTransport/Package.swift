// swift-tools-version: 6.1
import PackageDescription

// A package of its own: what somebody writes who adds a transport, a state backend and a delivery channel to Databus.
let package = Package(
  name: "custom-transport",
  dependencies: [.package(name: "databus", path: "../..")],
  targets: [
    // The transport and the state backend.
    .target(name: "Spool", dependencies: [.product(name: "DatabusCore", package: "databus")]),
    // The delivery channel.
    .target(
      name: "Drop",
      dependencies: [
        .product(name: "DatabusCore", package: "databus"), .product(name: "Dispatcher", package: "databus"),
      ]),
    // `databus` with all of them known by name.
    .executableTarget(
      name: "spool-databus",
      dependencies: ["Spool", "Drop", .product(name: "DatabusCommandLine", package: "databus")]),
    // The engine inside a program of one's own, with nothing but memory: no SQLite, no client library.
    .executableTarget(
      name: "minimal-pipeline",
      dependencies: [
        .product(name: "DatabusCore", package: "databus"), .product(name: "MemoryTransport", package: "databus"),
        .product(name: "MemoryState", package: "databus"),
      ]),
    .testTarget(
      name: "SpoolTests",
      dependencies: [
        "Spool", "Drop", .product(name: "DatabusTestKit", package: "databus"),
        // Programs that the tests run.
        "spool-databus", "minimal-pipeline",
      ]),
  ],
  swiftLanguageModes: [.v6]
)
