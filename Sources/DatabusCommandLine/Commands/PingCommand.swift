import DatabusCore
import Dispatcher
import Synchronization

extension DatabusCommand {
  static let ping = Command(
    "ping", summary: "Send one test delivery to a URL, as the dispatcher would",
    discussion: """
      One attempt with everything that the configuration says for that URL: signature, headers, authentication, addresses that may be
      sent to, timeout. The body is a small CloudEvent of the type "databus.ping". Nothing is remembered and nothing is tried again.

      Exit code 0: the receiver answered 2xx; 1: it did not, with the reason.
      """,
    examples: [
      .init("databus ping https://hooks.example.com/a", "Does it arrive, and is it accepted?"),
      .init("databus ping http://127.0.0.1:8080/hook --secret shop-signing --timeout 2s", "Signed with that secret."),
    ],
    options: [
      .config, .value("secret", "NAME", "Sign with this secret of the configuration"),
      .value("timeout", "TIME", kind: .duration, "How long the attempt may take (delivery.timeout)"), .json,
    ],
    operands: [Operand("URL", "Where it is sent")]
  ) { arguments, context in
    let url = try (arguments.operand("URL") ?? "").checkedDestination(context)
    let configuration = try context.configuration(arguments)
    let section = try DispatcherConfiguration.required(configuration, context)
    if let name = arguments.value("secret"), !section.secrets.names.contains(name) {
      throw CommandFailure(
        .usage, "there is no secret \"\(Terminal.printable(name))\" in \"dispatcher.secrets\"",
        hint: Spelling.hint(for: name, among: section.secrets.names.sorted()))
    }
    let channels = try await OpenedDispatcher.openChannels(section, configuration, context.dispatcher, .off)
    let result: PingResult
    do {
      result = try await Ping(configuration.pipeline.name, section, channels).send(
        to: url, secret: arguments.value("secret"), timeout: arguments.duration("timeout"))
    } catch {
      for channel in channels.values { await channel.close() }
      throw error
    }
    for channel in channels.values { await channel.close() }
    try context.output.write(arguments.flag("json") ? result.json : result.text)
    return result.isDelivered ? .done : .failed
  }
}

/// One test delivery.
private struct Ping {
  private let pipeline: String
  private let section: DispatcherConfiguration
  private let channels: [String: any DeliveryChannel]

  init(_ pipeline: String, _ section: DispatcherConfiguration, _ channels: [String: any DeliveryChannel]) {
    self.pipeline = pipeline
    self.section = section
    self.channels = channels
  }

  func send(to url: String, secret: String?, timeout: Duration?) async throws -> PingResult {
    let scheme = url.utf8.firstIndex(of: UInt8(ascii: ":")).map { url[..<$0].lowercased() } ?? ""
    guard let channel = channels[scheme] else {
      throw CommandFailure(.usage, "the configuration has no channel for \(scheme):", hint: "see dispatcher.channels")
    }
    let target: DeliveryTarget
    switch channel.target(of: url) {
    case .failure(let refusal):
      return PingResult(
        url: url, id: "", secret: secret,
        outcome: AttemptOutcome(
          number: 0, .rejected(refusal.reason, endsDestination: false), detail: refusal.detail))
    case .success(let found): target = found
    }
    var settings = section.settings.settings(for: target.url)
    if let secret { settings.signingSecret = secret }
    let wanted = timeout ?? settings.timeout
    guard DeliverySettings.timeouts.contains(wanted) else {
      throw CommandFailure(
        .usage,
        "--timeout: \(Quantity.text(wanted)) is not between \(Quantity.text(DeliverySettings.timeouts.lowerBound)) and "
          + Quantity.text(DeliverySettings.timeouts.upperBound))
    }
    settings.timeout = wanted
    let id = DeliveryID(high: .random(in: .min ... .max), low: .random(in: .min ... .max)).description
    let body = body(id)
    let attempt = DeliveryAttempt(
      number: 1, target: target, id: id, attempts: 0, value: body, payload: 0..<body.count, rule: nil,
      settings: settings, timeout: wanted)
    let outcome = await withCheckedContinuation { continuation in
      channel.start([attempt], PingPort(continuation))
    }
    return PingResult(url: url, id: id, secret: settings.signingSecret, outcome: outcome)
  }

  private func body(_ id: String) -> [UInt8] {
    let event = JSONValue(members: [
      ("specversion", "1.0"), ("type", "databus.ping"), ("source", JSONValue(.string("databus/\(pipeline)"))),
      ("id", JSONValue(.string(id))),
      ("time", JSONValue(.string(TimeText.rfc3339(milliseconds: SystemClock().wallMilliseconds())))),
      ("data", JSONValue(members: [("message", "A test delivery: there is nothing to do.")])),
    ])
    return Array(event.compactText.utf8)
  }
}

private final class PingPort: AttemptPort {
  private let continuation: Mutex<CheckedContinuation<AttemptOutcome, Never>?>

  init(_ continuation: CheckedContinuation<AttemptOutcome, Never>) { self.continuation = Mutex(continuation) }

  func end(_ outcomes: [AttemptOutcome]) {
    guard let outcome = outcomes.first else { return }
    let waiting = continuation.withLock { continuation in
      defer { continuation = nil }
      return continuation
    }
    waiting?.resume(returning: outcome)
  }
}

/// How a test delivery ended.
private struct PingResult {
  var url: String
  var id: String
  /// That it was signed with.
  var secret: String?
  var outcome: AttemptOutcome

  var isDelivered: Bool { outcome.verdict == .delivered }

  /// Without its query.
  private var shownURL: String { DispatchText.redacted(url) }

  /// Where it is the configuration's affair.
  private var remedy: String? {
    guard case .rejected(.addressDenied, _) = outcome.verdict else { return nil }
    return "if it may be sent there, list its address, block of addresses or host in dispatcher.channels.http.allow"
  }

  private var verdict: String {
    switch outcome.verdict {
    case .delivered: "delivered"
    case .retry: "not delivered; it would be tried again"
    case .rejected(let reason, let endsDestination):
      "not delivered; it would be a dead letter (\(reason.rawValue))"
        + (endsDestination ? ", and the destination would be disabled" : "")
    }
  }

  var text: String {
    var text = "\(shownURL): \(verdict)\n"
    func line(_ name: String, _ value: String) { text += "  \(name): \(Terminal.printable(value))\n" }
    line("what happened", outcome.detail)
    if let remedy { line("what to do", remedy) }
    if let status = outcome.status { line("status", String(status)) }
    line("time", "\(outcome.duration.storedMilliseconds) ms")
    if !id.isEmpty { line("webhook-id", id) }
    line("signed", secret.map { "with the secret \"\($0)\"" } ?? "no")
    if !outcome.response.isEmpty { line("response", String(decoding: outcome.response, as: UTF8.self)) }
    return text
  }

  var json: String {
    let word =
      switch outcome.verdict {
      case .delivered: "delivered"
      case .retry: "retry"
      case .rejected: "rejected"
      }
    var members: [(String, JSONValue)] = [
      ("url", JSONValue(.string(shownURL))), ("verdict", JSONValue(.string(word))),
      ("detail", JSONValue(.string(outcome.detail))),
      ("milliseconds", JSONValue(.number(String(outcome.duration.storedMilliseconds)))),
    ]
    if let remedy { members.append(("remedy", JSONValue(.string(remedy)))) }
    if case .rejected(let reason, _) = outcome.verdict {
      members.append(("reason", JSONValue(.string(reason.rawValue))))
    }
    if let status = outcome.status { members.append(("status", JSONValue(.number(String(status))))) }
    if !id.isEmpty { members.append(("id", JSONValue(.string(id)))) }
    if let secret { members.append(("secret", JSONValue(.string(secret)))) }
    members.append(("response", JSONValue(.string(String(decoding: outcome.response, as: UTF8.self)))))
    return JSONValue(members: members).compactText + "\n"
  }
}
