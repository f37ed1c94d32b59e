import DatabusCore

/// How a receiver answers. The command's options say it for all requests, the query of a request's own URL for that one: both by
/// the same names, so that one receiver can play several destinations.
struct ReceiverBehavior: Sendable, Hashable {
  /// What can be said, by its name as an option and in a query.
  enum Setting: String, Sendable, CaseIterable {
    case status
    case fail
    case failRate = "fail-rate"
    case retryAfter = "retry-after"
    case location
    case hang
    case drip
    case endless
    case close
    case body

    /// True for an option that is given without a value.
    var isFlag: Bool { self == .endless || self == .close }
  }

  /// Which requests the rest is for; the others are answered with 200 at once.
  enum Failing: Sendable, Hashable {
    case all
    /// The first so many of each `webhook-id`; of requests without one, all.
    case first(Int)
    case percent(Int)
  }

  /// nil: 200, or 503 where only some fail.
  var status: Int?
  var failing = Failing.all
  /// The header's value.
  var retryAfter: String?
  /// The header's value.
  var location: String?
  /// How long the answer waits.
  var hang: Duration?
  /// The pause behind each byte of the body.
  var drip: Duration?
  /// The body never ends.
  var isEndless = false
  /// The connection is closed without an answer.
  var closes = false
  /// nil: a line of our own.
  var body: String?

  /// What is wrong with a setting: a sentence.
  struct Problem: Error, Hashable {
    var message: String
  }

  /// True where nothing but an ordinary answer is asked for.
  var isOrdinary: Bool { self == ReceiverBehavior() }

  static let longestWait = Duration.seconds(24 * 3600)

  /// Takes a setting over from an option or from a query.
  mutating func set(_ setting: Setting, _ text: String) throws(Problem) {
    func problem(_ what: String) -> Problem {
      Problem(message: "\(setting.rawValue): \"\(Terminal.printable(text))\" is \(what)")
    }
    func number(_ range: ClosedRange<Int>) throws(Problem) -> Int {
      guard let number = Int(text), range.contains(number) else {
        throw problem("no whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    func duration() throws(Problem) -> Duration {
      guard let duration = Quantity.duration(text), duration <= ReceiverBehavior.longestWait else {
        throw problem("no duration up to 24h: write one like \"250ms\", \"1s\" or \"5m\"")
      }
      return duration
    }
    func flag() throws(Problem) -> Bool {
      switch text {
      case "", "true", "1": return true
      case "false", "0": return false
      default: throw problem("neither \"true\" nor \"false\"")
      }
    }
    func headerValue() throws(Problem) -> String {
      guard text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) }) else { throw problem("not printable ASCII") }
      return text
    }
    switch setting {
    case .status: status = try number(200...599)
    case .fail: failing = .first(try number(0...1_000_000))
    case .failRate: failing = .percent(try number(0...100))
    case .retryAfter:
      // What is no duration is sent as it is: a number of seconds, a date, or something that nobody can read.
      if let duration = Quantity.duration(text) {
        retryAfter = String(Int(duration.fractionalSeconds.rounded(.up)))
      } else {
        retryAfter = try headerValue()
      }
    case .location: location = try headerValue()
    case .hang: hang = try duration()
    case .drip: drip = try duration()
    case .endless: isEndless = try flag()
    case .close: closes = try flag()
    case .body: body = text
    }
  }
}
