#if canImport(Glibc)
  import Glibc
#endif

/// What routing reads of an event's top level: its type, and what CloudEvents 1.x identifies it by.
struct Envelope {
  enum Problem {
    case typeMissing
    case typeNotString
    /// The member's name.
    case repeated(StaticString)
  }

  /// The type's bytes; nil where there is a problem.
  private(set) var type: UnsafeRawBufferPointer?
  private(set) var problem = Problem.typeMissing
  private(set) var identity = ResultWriter.Identity.position

  /// One walk over the members of the top level.
  @inline(__always)
  init(_ document: borrowing JSONDocument, cloudEvents: Bool) {
    var typeIndex = 0
    var versionIndex = 0
    var sourceIndex = 0
    var idIndex = 0
    var repeatedID = false
    var repeatedSource = false
    var repeated: StaticString?
    var index = JSONDocument.rootIndex &+ 1
    while document.tag(at: index) != JSONDocument.Element.endObject.rawValue {
      let name = document.string(at: index)
      let value = index &+ 1
      switch name.count {
      case 4:
        if Envelope.equals(name, "type") {
          if typeIndex != 0 { repeated = "type" }
          typeIndex = value
        }
      case 2:
        if Envelope.equals(name, "id") {
          repeatedID = repeatedID || idIndex != 0
          idIndex = value
        }
      case 6:
        if Envelope.equals(name, "source") {
          repeatedSource = repeatedSource || sourceIndex != 0
          sourceIndex = value
        }
      case 11:
        if Envelope.equals(name, "specversion") {
          if versionIndex != 0 { repeated = "specversion" }
          versionIndex = value
        }
      default: break
      }
      index = document.index(after: value)
    }
    if versionIndex != 0 {
      // First-wins here and last-wins at the receiver would be an exploit.
      if repeatedID { repeated = "id" }
      if repeatedSource { repeated = "source" }
    }
    if let repeated {
      problem = .repeated(repeated)
      return
    }
    if typeIndex == 0 { return }
    guard document.tag(at: typeIndex) == JSONDocument.Element.string.rawValue else {
      problem = .typeNotString
      return
    }
    type = document.string(at: typeIndex)
    guard cloudEvents, versionIndex != 0, sourceIndex != 0, idIndex != 0,
      document.tag(at: versionIndex) == JSONDocument.Element.string.rawValue,
      document.tag(at: sourceIndex) == JSONDocument.Element.string.rawValue,
      document.tag(at: idIndex) == JSONDocument.Element.string.rawValue
    else { return }
    let version = document.string(at: versionIndex)
    let source = document.string(at: sourceIndex)
    let id = document.string(at: idIndex)
    if version.count >= 2, version[0] == UInt8(ascii: "1"), version[1] == UInt8(ascii: "."), !source.isEmpty,
      !id.isEmpty
    {
      identity = .cloudEvent(source: source, id: id)
    }
  }

  @inline(__always)
  private static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard let base = bytes.baseAddress else { return false }
    return memcmp(base, text.utf8Start, text.utf8CodeUnitCount) == 0
  }
}
