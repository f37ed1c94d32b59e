/// One thing that is wrong with what a person wrote: what, where, and what to do.
public struct Diagnostic: Sendable, Hashable {
  /// Kinds in the order in which they are told: causes before what follows from them.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case unreadable
    case syntax
    case duplicateKey = "duplicate-key"
    case unknownKey = "unknown-key"
    case unknownType = "unknown-type"
    case substitution
    case wrongKind = "wrong-kind"
    case invalidValue = "invalid-value"
    case reservedName = "reserved-name"
    case notBuilt = "not-built"
    case missing
    case unknownReference = "unknown-reference"
    case unsupported

    var rank: Int {
      switch self {
      case .unreadable, .syntax: 0
      case .duplicateKey, .unknownKey, .unknownType, .substitution: 1
      case .wrongKind, .invalidValue, .reservedName, .notBuilt: 2
      case .missing: 3
      case .unknownReference, .unsupported: 4
      }
    }
  }

  public var kind: Kind
  /// The file, as it was named.
  public var file: String
  /// From 1; 0 where there is no such place (the file cannot be read).
  public var line: Int
  /// From 1, in bytes.
  public var column: Int
  /// JSON pointer to the value; empty for the whole document and for syntax errors.
  public var pointer: String
  /// A sentence without its full stop. Never holds a secret.
  public var message: String
  /// What to do about it.
  public var hint: String?

  public init(
    _ kind: Kind, file: String, line: Int, column: Int, pointer: String, message: String, hint: String? = nil
  ) {
    self.kind = kind
    self.file = file
    self.line = line
    self.column = column
    self.pointer = pointer
    self.message = message
    self.hint = hint
  }
}

extension Diagnostic: CustomStringConvertible {
  /// `file:line:column: /pointer: message` and, on a line of its own, the hint.
  public var description: String {
    var text = file
    if line > 0 { text += ":\(line):\(column)" }
    if !pointer.isEmpty { text += ": \(pointer)" }
    text += ": \(message)"
    if let hint { text += "\n    \(hint)" }
    return text
  }

  /// The diagnostic as a JSON object, for scripts.
  public var json: JSONValue {
    var members: [(String, JSONValue)] = [
      ("kind", JSONValue(.string(kind.rawValue))), ("file", JSONValue(.string(file))),
    ]
    if line > 0 {
      members.append(("line", JSONValue(integerLiteral: line)))
      members.append(("column", JSONValue(integerLiteral: column)))
    }
    members.append(("pointer", JSONValue(.string(pointer))))
    members.append(("message", JSONValue(.string(message))))
    if let hint { members.append(("hint", JSONValue(.string(hint)))) }
    return JSONValue(members: members)
  }
}

/// Everything that is wrong with a configuration, causes first. Never empty.
public struct ConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
  public var diagnostics: [Diagnostic]

  public init(_ diagnostics: [Diagnostic]) { self.diagnostics = diagnostics }

  public var description: String { diagnostics.map(\.description).joined(separator: "\n") }
}
