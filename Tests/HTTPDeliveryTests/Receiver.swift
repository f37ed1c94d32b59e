import DatabusCore
import Dispatcher
import HTTPClient
import HTTPDelivery
import HTTPServer
import Synchronization
import Testing

/// A server that keeps what it is sent.
final class Receiver: Sendable {
  private struct State {
    var requests: [HTTPRequest] = []
    var waiting: [HTTPResponder] = []
  }

  private final class Book: Sendable {
    let state = Mutex(State())
  }

  private let book: Book
  private let server: HTTPServer
  let port: Int

  var url: String { "http://127.0.0.1:\(port)" }
  var requests: [HTTPRequest] { book.state.withLock { $0.requests } }

  /// - Parameter answer: nil for a request that is never answered.
  init(_ answer: @escaping Answer = answering(204)) throws {
    let book = Book()
    self.book = book
    server = try HTTPServer(.init(maximumConnections: 256, maximumBodyBytes: 1 << 20)) { request, responder in
      book.state.withLock { $0.requests.append(request) }
      if let response = answer(request) {
        responder.respond(response)
      } else {
        book.state.withLock { $0.waiting.append(responder) }
      }
    }
    port = server.port
  }

  func stop() async { await server.stop() }
}

/// Keeps the outcomes of attempts.
final class Outcomes: AttemptPort {
  private let outcomes = Mutex<[AttemptOutcome]>([])

  var all: [AttemptOutcome] { outcomes.withLock { $0 } }

  func end(_ ended: [AttemptOutcome]) { outcomes.withLock { $0 += ended } }

  func first(_ count: Int) async throws -> [AttemptOutcome] {
    try await eventually("\(count) attempts have ended") { all.count >= count }
    return all
  }
}

func eventually(_ what: String, _ condition: () -> Bool) async throws {
  for _ in 0..<10_000 {
    if condition() { return }
    try await Task.sleep(for: .milliseconds(1))
  }
  throw NeverHappened(what: what)
}

struct NeverHappened: Error { var what: String }

/// A clock that stands still.
struct StandingClock: EngineClock {
  var milliseconds: Int64 = 1_614_265_330_250

  func now() -> Instant { Instant(nanoseconds: 0) }
  func wallMilliseconds() -> Int64 { milliseconds }
  func sleep(until moment: Instant) async throws { throw CancellationError() }
}

/// A channel that may send to this machine, and what it makes of attempts.
struct Sender: Sendable {
  let channel: HTTPChannel

  init(
    secrets: [String: Secrets.Secret] = [:], allow: [String] = ["127.0.0.0/8"], maximumPayloadBytes: Int = 256 << 10
  ) throws {
    channel = try HTTPChannel(
      .init(client: .init(policy: AddressPolicy(allow: allow)), maximumPayloadBytes: maximumPayloadBytes),
      secrets: Secrets(secrets), clock: StandingClock())
  }

  /// One attempt, with the payload in the middle of other bytes.
  func attempt(
    _ url: String, _ payload: String = #"{"type":"a"}"#, id: String = "0123456789abcdef", number: UInt64 = 7,
    settings: DeliverySettings = DeliverySettings(), timeout: Duration = .seconds(10)
  ) throws -> DeliveryAttempt {
    let value = Array(("{" + payload + "}").utf8)
    return DeliveryAttempt(
      number: number, target: try channel.target(of: url).get(), id: id, attempts: 0, value: value,
      payload: 1..<value.count - 1, rule: "r", settings: settings, timeout: timeout)
  }

  func deliver(_ attempt: DeliveryAttempt) async throws -> AttemptOutcome {
    let outcomes = Outcomes()
    channel.start([attempt], outcomes)
    return try #require(try await outcomes.first(1).first)
  }
}

typealias Answer = @Sendable (HTTPRequest) -> HTTPResponse?

func answering(_ status: Int, _ headers: [HTTPHeader] = [], text: String = "") -> Answer {
  { _ in HTTPResponse(status: status, headers: headers, body: Array(text.utf8)) }
}

/// A secret that may be sent to the receiver, below one of the paths.
struct TestSecret {
  var values: [String]
  var paths: [String]

  init(_ values: String..., paths: [String] = [""]) {
    self.values = values
    self.paths = paths
  }
}

/// Runs `body` with a receiver and a sender, and ends both.
///
/// - Parameter answer: a request for which there is none is never answered.
func withReceiver(
  secrets: [String: TestSecret] = [:], maximumPayloadBytes: Int = 256 << 10, answer: @escaping Answer = answering(204),
  _ body: (Receiver, Sender) async throws -> Void
) async throws {
  let receiver = try Receiver(answer)
  let sender = try Sender(
    secrets: secrets.mapValues { secret in
      .init(values: secret.values, urls: secret.paths.map { receiver.url + $0 })
    }, maximumPayloadBytes: maximumPayloadBytes)
  do { try await body(receiver, sender) } catch {
    await sender.channel.close()
    await receiver.stop()
    throw error
  }
  await sender.channel.close()
  await receiver.stop()
}

extension HTTPRequest {
  /// The values of all headers of this name.
  func values(_ name: String) -> [String] {
    headers.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
  }

  var text: String { String(decoding: body, as: UTF8.self) }
}
