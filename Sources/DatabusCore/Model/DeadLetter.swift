/// Why a record is set aside. The raw values stand in the dead letters.
public enum DeadLetterReason: String, Sendable, Hashable, CaseIterable {
  case notJSON = "not_json"
  case notUTF8 = "not_utf8"
  case notObject = "not_object"
  case typeMissing = "type_missing"
  case typeNotString = "type_not_string"
  case memberRepeated = "member_repeated"
  case emptyValue = "empty_value"
  case tooDeep = "too_deep"
  case tooLarge = "too_large"
  case tooManyDeliveries = "too_many_deliveries"
  case ruleInvalid = "rule_invalid"
  case evaluationFailed = "evaluation_failed"
  case transformFailed = "transform_failed"
  case sinkRejected = "sink_rejected"
  case gap
  /// An operator has set it aside, unread by any rule.
  case skipped
}

extension DeadLetterReason {
  init(_ kind: JSONError.Kind) {
    switch kind {
    case .empty: self = .emptyValue
    case .notJSON: self = .notJSON
    case .notUTF8: self = .notUTF8
    case .tooDeep: self = .tooDeep
    case .tooLarge, .outOfMemory: self = .tooLarge
    }
  }
}
