import DatabusCore
import Dispatcher
import HTTPClient
import Synchronization

/// Delivers by HTTP: one POST for each attempt, as a webhook (Standard Webhooks 1.0) with the payload as its body.
///
/// What a request has, and what becomes of each answer, stands in docs/webhooks.md.
public final class HTTPChannel: DeliveryChannel {
  public struct Configuration: Sendable, Hashable {
    /// Connections, limits of answers, and the addresses that may be sent to.
    public var client: HTTPClient.Configuration
    /// The largest payload that is sent, in bytes.
    public var maximumPayloadBytes: Int

    public init(
      client: HTTPClient.Configuration = HTTPClient.Configuration(), maximumPayloadBytes: Int = 256 << 10
    ) {
      self.client = client
      self.maximumPayloadBytes = maximumPayloadBytes
    }
  }

  private struct PlanKey: Hashable, Sendable {
    var url: String
    var settings: DeliverySettings

    // What rules for one URL differ in, and most have none of: all of the settings would take longer than the look-up.
    func hash(into hasher: inout Hasher) {
      hasher.combine(url)
      hasher.combine(settings.headers)
      hasher.combine(settings.signingSecret)
      hasher.combine(settings.authentication)
    }
  }

  private let client: HTTPClient
  private let policy: AddressPolicy
  private let maximumPayloadBytes: Int
  private let secrets: Secrets
  private let clock: any EngineClock
  private let refusals = RefusedAttempts()
  private let plans = Mutex(BoundedCache<PlanKey, Result<RequestPlan, DeliveryRefusal>>(capacity: 4096))
  private let binding: Mutex<CloudEventBinding>

  /// - Parameter clock: the time of attempts, and of the moments that receivers name.
  /// - Throws: `HTTPClientError` where the configuration cannot be used or the system gives no thread; `JSONError` where there is
  ///   no memory.
  public init(_ configuration: Configuration, secrets: Secrets, clock: any EngineClock = SystemClock()) throws {
    client = try HTTPClient(configuration.client)
    policy = configuration.client.policy
    maximumPayloadBytes = configuration.maximumPayloadBytes
    self.secrets = secrets
    self.clock = clock
    binding = Mutex(try CloudEventBinding())
  }

  public func target(of destination: String) -> Result<DeliveryTarget, DeliveryRefusal> {
    let url: HTTPURL
    do throws(HTTPClientFailure) {
      url = try HTTPURL(destination)
    } catch {
      return .failure(DeliveryRefusal(.badURL, error.message))
    }
    if let denial = policy.denial(of: url) { return .failure(DeliveryRefusal(.addressDenied, denial.message)) }
    let isUsualPort = url.port == (url.isSecure ? 443 : 80)
    let label = isUsualPort ? url.origin.dropLast(":\(url.port)".count) : url.origin[...]
    return .success(DeliveryTarget(url: url.text, server: url.origin, label: String(label)))
  }

  public func start(_ attempts: [DeliveryAttempt], _ port: any AttemptPort) {
    let timestamp = RequestPlan.Timestamp(milliseconds: clock.wallMilliseconds())
    var requests: [HTTPClientRequest] = []
    requests.reserveCapacity(attempts.count)
    var refused: [AttemptOutcome] = []
    for attempt in attempts {
      do throws(DeliveryRefusal) {
        requests.append(try request(attempt, timestamp))
      } catch {
        refused.append(
          AttemptOutcome(
            number: attempt.number, .rejected(error.reason, endsDestination: false), detail: error.detail))
      }
    }
    if !requests.isEmpty { client.send(requests, AttemptRelay(port, clock)) }
    if !refused.isEmpty { refusals.end(refused, port) }
  }

  private func request(
    _ attempt: DeliveryAttempt, _ timestamp: RequestPlan.Timestamp
  ) throws(DeliveryRefusal) -> HTTPClientRequest {
    guard attempt.payload.count <= maximumPayloadBytes else {
      throw DeliveryRefusal(
        .tooLarge, "the payload has \(attempt.payload.count) bytes; at most \(maximumPayloadBytes) are sent")
    }
    let plan = try plan(attempt).get()
    return try plan.request(attempt, timestamp: timestamp) { attempt, isBinary in
      binding.withLock { $0.message(attempt.value, attempt.payload, isBinary: isBinary) }
    }
  }

  private func plan(_ attempt: DeliveryAttempt) -> Result<RequestPlan, DeliveryRefusal> {
    let key = PlanKey(url: attempt.target.url, settings: attempt.settings)
    if let known = plans.withLock({ $0.value(for: key) }) { return known }
    let plan = Result { () throws(DeliveryRefusal) in try RequestPlan(key.settings, url: key.url, secrets) }
    plans.withLock { $0.insert(plan, for: key) }
    return plan
  }

  public func close() async {
    await client.close()
    await refusals.drain()
  }
}

/// Hears of requests' ends for the attempts of one call.
private final class AttemptRelay: HTTPClientPort {
  private let port: any AttemptPort
  private let clock: any EngineClock

  init(_ port: any AttemptPort, _ clock: any EngineClock) {
    self.port = port
    self.clock = clock
  }

  func end(_ results: [HTTPClientResult]) {
    let now = clock.wallMilliseconds()
    port.end(results.map { AttemptOutcome($0, now: now) })
  }
}
