import DatabusCore
import Dispatcher
import HTTPClient
import HTTPDelivery
import RedisDeduplication
import SQLiteDeduplication

/// How the built-in channel and stores of the dispatcher are made of their settings.
enum DispatcherMakers {
  @Sendable
  static func httpChannel(
    _ settings: ConfigurationObject, _ context: DeliveryChannelContext
  ) async throws -> any DeliveryChannel {
    throw DeduplicationError.unusable("not yet")
  }

  @Sendable
  static func redisDeduplication(
    _ settings: ConfigurationObject, _ context: DeduplicationStoreContext
  ) async throws -> any DeduplicationStore {
    let connection = try BuiltInComponents.redisConnection(settings)
    return try await RedisDeduplication(
      RedisDeduplication.Options(connection, replicas: settings.integer("replicas")), pipeline: context.pipeline)
  }

  @Sendable
  static func sqliteDeduplication(
    _ settings: ConfigurationObject, _ context: DeduplicationStoreContext
  ) async throws -> any DeduplicationStore {
    try await SQLiteDeduplication(
      path: settings.string("path"), access: context.access == .pipeline ? .dispatcher : .marks, clock: context.clock,
      log: context.logger)
  }
}
