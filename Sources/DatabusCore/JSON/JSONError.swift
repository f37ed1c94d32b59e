/// Why bytes are not a document that Databus takes.
public struct JSONError: Error, Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    case empty
    case notJSON
    case notUTF8
    case tooDeep
    case tooLarge
    case outOfMemory
  }

  public var kind: Kind
  /// What is wrong, for people.
  public var message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }
}

extension JSONError: CustomStringConvertible {
  public var description: String { message }
}
