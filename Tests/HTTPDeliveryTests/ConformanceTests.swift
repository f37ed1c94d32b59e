import DatabusTestKit
import Dispatcher
import HTTPClient
import HTTPDelivery
import HTTPServer
import Synchronization
import Testing

/// The HTTP channel keeps what every delivery channel promises: a real receiver at a real socket.
@Suite struct ConformanceTests {
  /// What has come, and who waits for an answer that never comes.
  private final class Inbox: Sendable {
    let deliveries = Mutex<[ReceivedDelivery]>([])
    let waiting = Mutex<[HTTPResponder]>([])
  }

  private static let http = ChannelUnderTest("http") {
    let inbox = Inbox()
    let server = try HTTPServer(.init(maximumConnections: 2048, maximumBodyBytes: 1 << 20)) { request, responder in
      if request.target.hasPrefix("/hang") { return inbox.waiting.withLock { $0.append(responder) } }
      let id = request.headers.first { $0.name.lowercased() == "webhook-id" }?.value ?? ""
      inbox.deliveries.withLock { $0.append(ReceivedDelivery(id: id, bytes: request.body)) }
      responder.respond(HTTPResponse(status: 204))
    }
    // A port that was free a moment ago, and where nobody listens.
    let gone = try HTTPServer(.init()) { _ in HTTPResponse(status: 204) }
    await gone.stop()
    let channel = try HTTPChannel(
      .init(client: .init(policy: AddressPolicy(allow: ["127.0.0.0/8"]))), secrets: Secrets([:]))
    let origin = "http://127.0.0.1:\(server.port)"
    var subject = ChannelSubject(
      channel: channel, destination: origin + "/hook?key=1",
      refused: [
        "http:", "http://", "http://user@127.0.0.1/", "http://10.0.0.1/", "file:///etc/passwd", "gopher://a.example/",
      ]
    ) { inbox.deliveries.withLock { $0 } }
    subject.unreachable = "http://127.0.0.1:\(gone.port)/"
    subject.hanging = origin + "/hang"
    subject.tearDown = { await server.stop() }
    return subject
  }

  @Test(arguments: DeliverySuite.cases)
  func theHTTPChannelConforms(_ one: ConformanceCase<ChannelUnderTest>) async {
    #expect(await one.run(ConformanceTests.http) == .passed)
  }
}
