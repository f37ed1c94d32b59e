/// The text that a person wrote, and where in it something stands.
public struct SourceText: Sendable {
  /// As people name it: a path, `standard input`, `rules/0/17`.
  public let name: String
  /// Without a byte order mark.
  public let bytes: [UInt8]

  public init(name: String, bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
  }

  public init(name: String, _ text: String) { self.init(name: name, bytes: Array(text.utf8)) }

  func place(at offset: Int) -> SourcePlace { SourcePlace(offset: offset, in: bytes) }
}

/// A JSON pointer (RFC 6901). The empty one names the whole document.
public struct JSONPointer: Sendable, Hashable, CustomStringConvertible {
  public private(set) var description: String

  public init() { description = "" }

  public func appending(_ name: String) -> JSONPointer {
    var pointer = self
    pointer.description += "/"
    for character in name.unicodeScalars {
      switch character {
      case "~": pointer.description += "~0"
      case "/": pointer.description += "~1"
      default: pointer.description.unicodeScalars.append(character)
      }
    }
    return pointer
  }

  public func appending(_ index: Int) -> JSONPointer {
    var pointer = self
    pointer.description += "/\(index)"
    return pointer
  }
}

extension Spelling {
  /// `did you mean "x"?`, or the known words where none is near and they are few; nil otherwise.
  public static func hint(for word: String, among candidates: [String]) -> String? {
    if let nearest = nearest(to: word, among: candidates) { return "did you mean \"\(nearest)\"?" }
    guard !candidates.isEmpty, candidates.count <= 16 else { return nil }
    return "known here: " + candidates.map { "\"\($0)\"" }.joined(separator: ", ")
  }
}
