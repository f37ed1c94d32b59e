import DatabusCore
import Dispatcher

/// A delivery channel as the conformance suite sees it: how to make a fresh one, and what stands at its other end.
public struct ChannelUnderTest: Sendable {
  /// For reports.
  public var name: String
  /// Makes a channel and a receiver that has nothing yet.
  public var make: @Sendable () async throws -> ChannelSubject

  public init(_ name: String, make: @escaping @Sendable () async throws -> ChannelSubject) {
    self.name = name
    self.make = make
  }
}

/// A fresh channel, and what is at its other end.
public struct ChannelSubject: Sendable {
  public var channel: any DeliveryChannel
  /// Where deliveries arrive.
  public var destination: String
  /// URLs that can never be destinations, of the channel's schemes.
  public var refused: [String]
  /// All that has arrived at `destination`. A receiver may keep one of several with the same id.
  public var received: @Sendable () async throws -> [ReceivedDelivery]
  /// A destination where nothing arrives now, and may later. nil: there is none.
  public var unreachable: String?
  /// A destination that takes an attempt, so that it may have arrived, and never answers. nil: nothing can hang.
  public var hanging: String?
  /// The largest payload that the suite sends.
  public var payloadBytes = 100_000
  /// Removes everything. Called at the end of every case, with the channel closed.
  public var tearDown: @Sendable () async -> Void = {}

  public init(
    channel: any DeliveryChannel, destination: String, refused: [String],
    received: @escaping @Sendable () async throws -> [ReceivedDelivery]
  ) {
    self.channel = channel
    self.destination = destination
    self.refused = refused
    self.received = received
  }
}

/// A delivery as its receiver has it.
public struct ReceivedDelivery: Sendable, Hashable {
  public var id: String
  public var bytes: [UInt8]

  public init(id: String, bytes: [UInt8]) {
    self.id = id
    self.bytes = bytes
  }
}
