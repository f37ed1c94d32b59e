import DatabusCore
import Dispatcher
import HTTPClient
import HTTPDelivery
import RedisClient
import RedisDeduplication
import SQLiteDeduplication

extension BuiltInComponents {
  /// The delivery channels and deduplication stores that every program over this library has.
  public static let dispatcher = DispatcherRegistry(
    channels: [httpChannel], stores: [sqliteDeduplication, redisDeduplication])

  // MARK: Channels

  static let httpChannel = DeliveryChannelType(
    "http", schemes: ["http", "https"],
    settings: ObjectDeclaration(
      "HTTP and HTTPS, signed as Standard Webhooks says. Nothing is sent to addresses that are not public, unless `allow` lists them.",
      [
        FieldDeclaration(
          "allow",
          .array(
            of: .string(
              StringRule(
                length: 1...253, form: "an address, a block of addresses (`10.1.0.0/16`) or a host's name",
                check: { text in
                  (try? AddressPolicy(allow: [text])) != nil
                    ? nil : "is no address, no block of addresses whose further bits are all 0, and no host's name"
                })), count: 0...10_000), default: [],
          example: ["10.1.0.0/16", "hooks.internal"],
          "What may be sent to although it is not public: addresses, blocks of addresses, and exact names of hosts, which may then lead anywhere."
        ),
        FieldDeclaration(
          "proxy",
          .string(
            StringRule(
              length: 1...2048, form: "`http://user:password@host:port` or `https://...`", pattern: "^https?://.+$",
              check: { text in
                let isProxy =
                  ["http://", "https://"].contains { text.hasPrefix($0) && text.utf8.count > $0.utf8.count }
                  && text.isVisibleASCII
                return isProxy ? nil : "is no URL of a proxy"
              })), defaultMeaning: "none; environment variables are not looked at",
          example: "http://proxy.internal:3128",
          secret: true,
          "The proxy that everything is sent through. It resolves names, and has to decide about what they lead to."),
        FieldDeclaration(
          "caFile", .path, defaultMeaning: "the system's", example: "/etc/ssl/certs/internal.pem",
          "The certificates (PEM) of those who may have signed a receiver's."),
        FieldDeclaration(
          "userAgent",
          .string(
            StringRule(
              length: 1...256, form: "printable ASCII",
              check: { $0.utf8.allSatisfy { (0x20...0x7E).contains($0) } ? nil : "is not printable ASCII" })),
          default: "databus", "The header `user-agent`."),
        FieldDeclaration(
          "connectTimeout", .duration(.milliseconds(10)...(.seconds(60))), default: "10s",
          "The time for finding a host's address, connecting and TLS; an attempt's own `timeout` may be shorter."),
        FieldDeclaration(
          "responseBytes", .size(1...(16 << 20)), default: "16KiB",
          "So much of an answer's body is read; then the connection is closed, and the answer counts."),
      ])
  ) { settings, context in
    let client = HTTPClient.Configuration(
      policy: try AddressPolicy(allow: settings.strings("allow")), maximumConnections: context.slots,
      maximumConnectionsPerHost: context.slots, connectTimeout: settings.duration("connectTimeout"),
      maximumBodyBytes: settings.size("responseBytes"), userAgent: settings.string("userAgent"),
      authorityFile: settings.optionalString("caFile"), proxy: settings.optionalString("proxy"))
    return try HTTPChannel(
      HTTPChannel.Configuration(client: client, maximumPayloadBytes: context.payloadBytes), secrets: context.secrets,
      clock: context.clock)
  }

  // MARK: Deduplication stores

  static let sqliteDeduplication = DeduplicationStoreType(
    "sqlite",
    settings: ObjectDeclaration(
      "One SQLite file: for a single dispatcher.",
      [
        FieldDeclaration(
          "path", .path, required: true, example: "databus-deduplication.db", "The file; made at first use.")
      ])
  ) { settings, context in
    try await SQLiteDeduplication(
      path: settings.string("path"), access: context.access == .pipeline ? .dispatcher : .marks, clock: context.clock,
      log: context.logger)
  }

  static let redisDeduplication = DeduplicationStoreType(
    "redis",
    settings: ObjectDeclaration(
      "Redis 5 or later: all dispatchers of the pipeline share it.",
      redisConnectionFields + [
        FieldDeclaration(
          "replicas", .integer(0...100), default: 0,
          "So many replicas must have what is written before it counts (`WAIT`): a failover then forgets less.")
      ])
  ) { settings, context in
    let connection: RedisConnection.Options
    do throws(RedisEndpoint.URLProblem) {
      connection = try redisConnection(settings)
    } catch {
      throw DeduplicationError.unusable("dispatcher.deduplication.url \(error)")
    }
    return try await RedisDeduplication(
      RedisDeduplication.Options(connection, replicas: settings.integer("replicas")), pipeline: context.pipeline)
  }
}
