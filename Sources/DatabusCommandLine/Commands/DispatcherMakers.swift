import DatabusCore
import Dispatcher

/// How the built-in channel and stores of the dispatcher are made of their settings.
///
/// To be wired to HTTPDelivery, RedisDeduplication and SQLiteDeduplication: no other place makes them.
enum DispatcherMakers {
  @Sendable
  static func httpChannel(
    _ settings: ConfigurationObject, _ context: DeliveryChannelContext
  ) async throws -> any DeliveryChannel {
    throw DeduplicationError.unusable("this build has no channel \"http\"")
  }

  @Sendable
  static func redisDeduplication(
    _ settings: ConfigurationObject, _ context: DeduplicationStoreContext
  ) async throws -> any DeduplicationStore {
    throw DeduplicationError.unusable("this build has no deduplication in Redis")
  }

  @Sendable
  static func sqliteDeduplication(
    _ settings: ConfigurationObject, _ context: DeduplicationStoreContext
  ) async throws -> any DeduplicationStore {
    throw DeduplicationError.unusable("this build has no deduplication in SQLite")
  }
}
