#if canImport(Glibc)
  import Glibc
#endif

/// What a result says: where its parts stand in the record's value.
public struct ResultFields: Sendable, Hashable {
  public var destination: String
  /// Where the payload's bytes stand.
  public var payload: Range<Int>
  public var id: String?
  public var rule: String?
  /// The locator of the event that it was made of.
  public var event: String?
  /// The event's, in milliseconds since 1970.
  public var timestamp: Int64?
  /// Where the rule's `delivery` object stands.
  public var delivery: Range<Int>?
}

/// Why a record is no result.
public struct ResultProblem: Error, Sendable, Hashable {
  /// A sentence for people.
  public var message: String
}

/// Reads results: what `ResultWriter` writes, and what other producers write in the same form. One thread at a time.
public struct ResultReader: ~Copyable {
  private var document: JSONDocument

  /// - Throws: `JSONError` where there is no memory.
  public init(depth: Int = 1024) throws(JSONError) { document = try JSONDocument(depth: depth) }

  /// Members that are not named here are left alone. One of ours that stands twice is a problem: whoever reads it next may take the other.
  ///
  /// - Throws: `ResultProblem`.
  public mutating func read(_ value: [UInt8]) throws(ResultProblem) -> ResultFields {
    let result = value.withUnsafeBytes { bytes -> Result<ResultFields, ResultProblem> in
      do throws(ResultProblem) {
        return .success(try read(bytes))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private mutating func read(_ bytes: UnsafeRawBufferPointer) throws(ResultProblem) -> ResultFields {
    guard let base = bytes.baseAddress, bytes.count > 0 else {
      throw ResultProblem(message: "the result is empty")
    }
    let code = document.parse(base, bytes.count, 0)
    guard code == 0 else { throw ResultProblem(message: "the result cannot be read: \(document.error(code).message)") }
    guard document.rootIsObject else { throw ResultProblem(message: "the result is no JSON object") }
    var destination: String?
    var payload: Range<Int>?
    var fields = ResultFields(destination: "", payload: 0..<0)
    var seen = 0
    var index = JSONDocument.rootIndex + 1
    while document.element(at: index) != .endObject {
      let value = index + 1
      if let member = Member(document.string(at: index)) {
        guard seen & 1 << member.rawValue == 0 else {
          throw ResultProblem(message: "\"\(member)\" stands twice in the result")
        }
        seen |= 1 << member.rawValue
        switch member {
        case .destination: destination = try text(at: value, member)
        case .payload: payload = range(of: value)
        case .id: fields.id = try optionalText(at: value, member)
        case .rule: fields.rule = try optionalText(at: value, member)
        case .event: fields.event = try optionalText(at: value, member)
        case .timestamp: fields.timestamp = Int64(String(decoding: number(at: value), as: UTF8.self))
        case .delivery: if document.element(at: value) == .startObject { fields.delivery = range(of: value) }
        }
      }
      index = document.index(after: value)
    }
    guard let destination else { throw ResultProblem(message: "the result has no \"destination\"") }
    guard let payload else { throw ResultProblem(message: "the result has no \"payload\"") }
    fields.destination = destination
    fields.payload = payload
    return fields
  }

  private enum Member: Int, CaseIterable {
    case destination, payload, id, rule, event, timestamp, delivery

    init?(_ name: UnsafeRawBufferPointer) {
      let found: Member
      switch name.count {
      case 2: found = .id
      case 4: found = .rule
      case 5: found = .event
      case 7: found = .payload
      case 8: found = .delivery
      case 9: found = .timestamp
      case 11: found = .destination
      default: return nil
      }
      guard let start = name.baseAddress, memcmp(start, found.name.utf8Start, name.count) == 0 else { return nil }
      self = found
    }

    private var name: StaticString {
      switch self {
      case .destination: "destination"
      case .payload: "payload"
      case .id: "id"
      case .rule: "rule"
      case .event: "event"
      case .timestamp: "timestamp"
      case .delivery: "delivery"
      }
    }
  }

  private func text(at index: Int, _ member: Member) throws(ResultProblem) -> String {
    guard document.element(at: index) == .string else {
      throw ResultProblem(message: "\"\(member)\" in the result is not a string")
    }
    return String(decoding: document.string(at: index), as: UTF8.self)
  }

  private func optionalText(at index: Int, _ member: Member) throws(ResultProblem) -> String? {
    document.element(at: index) == .null ? nil : try text(at: index, member)
  }

  private mutating func number(at index: Int) -> UnsafeBufferPointer<UInt8> {
    switch document.element(at: index) {
    case .signedInteger, .unsignedInteger: document.numberText(ofElement: index)
    default: UnsafeBufferPointer(start: nil, count: 0)
    }
  }

  /// Where the value at a place of the tape stands in the source.
  private mutating func range(of index: Int) -> Range<Int> {
    let mark = document.markCount
    let start = document.sourceOffset(of: index)
    let end: Int
    switch document.element(at: index) {
    case .startObject, .startArray: end = document.sourceOffset(of: document.index(after: index) - 1) + 1
    case .string: end = stringEnd(from: start)
    case .signedInteger, .unsignedInteger, .double: end = start + document.numberText(ofElement: index).count
    case .true, .null: end = start + 4
    case .false: end = start + 5
    case .endObject, .endArray, .root: end = start
    }
    return start + mark..<end + mark
  }

  /// Behind the closing quote of the string that begins at `start`, which simdjson has found valid.
  private func stringEnd(from start: Int) -> Int {
    let source = document.sourceBytes
    var end = start + 1
    while end < source.count, source[end] != UInt8(ascii: "\"") {
      end += source[end] == UInt8(ascii: "\\") ? 2 : 1
    }
    return min(end + 1, source.count)
  }
}
