import DatabusCore
import RedisClient
import RedisState

extension BuiltInComponents {
  /// How Redis is reached, for everything that is kept in it.
  static let redisConnectionFields: [FieldDeclaration] = [
    FieldDeclaration(
      "url",
      .string(
        StringRule(
          form: "`redis://user:password@host:port/database` or `unix:///path/of/socket?db=0`",
          pattern: "^(redis|unix)://.+$",
          check: { url in
            do throws(RedisEndpoint.URLProblem) {
              _ = try RedisEndpoint(url: url)
              return nil
            } catch {
              return error.description
            }
          })), required: true, example: "redis://localhost:6379", secret: true,
      "The server. What is percent-encoded in user name, password or path is decoded; TLS is not built."),
    FieldDeclaration(
      "username", .string(.notEmpty), defaultMeaning: "the URL's, else the default user", example: "databus",
      secret: true, "The user of Redis's access list."),
    FieldDeclaration(
      "password", .string(.notEmpty), defaultMeaning: "the URL's", example: "${file:/run/secrets/redis}",
      secret: true, "The password; it needs no percent-encoding here."),
    FieldDeclaration(
      "connectTimeout", .duration(.milliseconds(10)...(.seconds(600))), default: "5s",
      "How long making a connection may take."),
    FieldDeclaration(
      "timeout", .duration(.milliseconds(10)...(.seconds(600))), default: "5s",
      "How long Redis may answer nothing before it counts as away."),
  ]

  /// - Parameter settings: of `redisConnectionFields`.
  static func redisConnection(
    _ settings: ConfigurationObject
  ) throws(RedisEndpoint.URLProblem) -> RedisConnection.Options {
    var endpoint = try RedisEndpoint(url: settings.string("url"))
    if let username = settings.optionalString("username") { endpoint.username = username }
    if let password = settings.optionalString("password") { endpoint.password = password }
    return RedisConnection.Options(
      endpoint, connectTimeout: settings.duration("connectTimeout"), timeout: settings.duration("timeout"))
  }

  static let redisState = StateBackendType(
    "redis",
    settings: ObjectDeclaration(
      "State in Redis 5 or later: all processes of the pipeline share it.",
      redisConnectionFields + [
        FieldDeclaration(
          "keyPrefix",
          .string(
            StringRule(
              length: 1...200, form: "letters, digits, `.`, `_`, `-` and `:`", pattern: "^[A-Za-z0-9._:-]+$",
              check: RedisState.Options.problem(ofKeyPrefix:))), default: "databus",
          "All keys begin with it, then comes the pipeline's name.")
      ]),
    capabilities: StateCapabilities(isShared: true, isDurable: true)
  ) { settings, context in
    let connection: RedisConnection.Options
    do throws(RedisEndpoint.URLProblem) {
      connection = try redisConnection(settings)
    } catch {
      throw StateError.unusable("state.url \(error)")
    }
    return try await RedisState(
      RedisState.Options(connection, keyPrefix: settings.string("keyPrefix")), pipeline: context.pipeline,
      access: context.access == .pipeline ? .writer : .reader, log: context.logger)
  }
}
