import CHiredis

/// What Redis answered to one command.
public enum RedisReply: Sendable, Hashable {
  /// Nothing there.
  case null
  case integer(Int64)
  /// A short word of the server: "OK".
  case status(String)
  case bytes([UInt8])
  case array([RedisReply])
  /// The command was refused.
  case error(RedisError)

  /// The reply, or the error that it is.
  public func checked() throws(RedisError) -> RedisReply {
    if case .error(let error) = self { throw error }
    return self
  }

  /// The number; nil where the reply is none. Text that is a number counts as one.
  public var integer: Int64? {
    switch self {
    case .integer(let number): number
    case .bytes, .status: text.flatMap { Int64($0) }
    default: nil
    }
  }

  /// nil where the reply has no bytes.
  public var bytes: [UInt8]? {
    switch self {
    case .bytes(let bytes): bytes
    case .status(let word): Array(word.utf8)
    default: nil
    }
  }

  /// nil where the reply has no bytes.
  public var text: String? {
    switch self {
    case .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
    case .status(let word): word
    default: nil
    }
  }

  /// The elements; none where the reply is no array.
  public var elements: [RedisReply] {
    if case .array(let elements) = self { return elements }
    return []
  }
}

extension RedisReply {
  /// A copy of what hiredis has parsed. Nesting is bounded by hiredis itself (9 levels).
  ///
  /// - Parameter read: makes an error of the server's words.
  init(_ reply: UnsafePointer<redisReply>, error read: (String) -> RedisError) {
    let reply = reply.pointee
    let bytes = UnsafeRawBufferPointer(start: reply.str, count: reply.str == nil ? 0 : reply.len)
    switch reply.type {
    case REDIS_REPLY_INTEGER: self = .integer(reply.integer)
    case REDIS_REPLY_STATUS: self = .status(String(decoding: bytes, as: UTF8.self))
    case REDIS_REPLY_ERROR: self = .error(read(String(decoding: bytes, as: UTF8.self)))
    case REDIS_REPLY_NIL: self = .null
    case REDIS_REPLY_ARRAY:
      let elements = UnsafeBufferPointer(start: reply.element, count: reply.element == nil ? 0 : reply.elements)
      self = .array(elements.map { element in element.map { RedisReply($0, error: read) } ?? .null })
    default:
      // A string, and the kinds of a newer protocol, which is never asked for: their text.
      self = .bytes(Array(bytes))
    }
  }
}
