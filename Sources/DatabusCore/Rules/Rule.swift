/// A routing rule, decoded and valid.
public struct Rule: Sendable {
  public var id: String
  /// Exact types, or prefixes that end in `*`.
  public var events: [String]
  public var destination: String
  /// The destination's scheme, in lower case.
  public var scheme: String
  public var isEnabled: Bool
  /// The `delivery` object as it was written; nil where the rule has none.
  public var delivery: [UInt8]?
  /// What a rule's own tests are, where it has any.
  public var evaluator: (any RuleEvaluator)?
  /// What makes the payload, where the rule has transforms.
  public var transformer: (any RuleTransformer)?
  /// Fields that nobody knows, for people.
  public var warnings: [String]

  public init(
    id: String, events: [String], destination: String, scheme: String, isEnabled: Bool = true,
    delivery: [UInt8]? = nil, evaluator: (any RuleEvaluator)? = nil, transformer: (any RuleTransformer)? = nil,
    warnings: [String] = []
  ) {
    self.id = id
    self.events = events
    self.destination = destination
    self.scheme = scheme
    self.isEnabled = isEnabled
    self.delivery = delivery
    self.evaluator = evaluator
    self.transformer = transformer
    self.warnings = warnings
  }
}

/// What a rule's own tests say of an event.
public enum Evaluation: Sendable, Hashable {
  case pass
  /// The rule does not want this event: counted as declined.
  case fail
  /// The tests could not be done: a dead letter for this rule, with the reason.
  case failed(String)
}

/// A rule's own tests on an event, compiled. Pure: the same document gives the same answer.
public protocol RuleEvaluator: Sendable {
  func evaluate(_ document: borrowing JSONDocument) -> Evaluation
}

/// A rule's transforms, compiled. Pure: the same document gives the same bytes.
public protocol RuleTransformer: Sendable {
  /// Appends the payload, one JSON value, to `buffer`. What was appended before an error is taken back.
  func transform(_ document: borrowing JSONDocument, into buffer: inout ByteBuffer) throws(TransformError)
}

/// Why a rule's transforms could not be done on an event.
public struct TransformError: Error, Sendable, Hashable {
  public var reason: String
  public init(_ reason: String) { self.reason = reason }
}
