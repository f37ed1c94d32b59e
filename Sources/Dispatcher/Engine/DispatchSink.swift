import DatabusCore

/// The desk as a sink: what a pipeline hands its records to.
struct DispatchSink: EventSink {
  let inbox: DeskInbox
  let clock: any EngineClock

  var capabilities: SinkCapabilities { SinkCapabilities(maximumInFlight: .max, keepsAccepted: true) }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    inbox.accept(batch, from: start, at: clock.now())
  }

  func writable() async throws {
    while !inbox.hasRoom { await inbox.room.wait(for: .milliseconds(100), clock) }
  }

  var trouble: String? { inbox.trouble }
  func retire(_ origin: PartitionID?) { inbox.retire(origin) }
  func isAtRest(_ origin: PartitionID?) -> Bool { inbox.isAtRest(origin) }

  func flush(by deadline: Instant) async throws {}
  func close() async {}
}

/// The desk as a transport of one stream.
struct DispatchTransport: Transport {
  let inbox: DeskInbox
  let clock: any EngineClock

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    throw TransportError(.fatal, "Nothing can be read from the dispatcher.")
  }

  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    inbox.setPort(completions)
    return DispatchSink(inbox: inbox, clock: clock)
  }
}
