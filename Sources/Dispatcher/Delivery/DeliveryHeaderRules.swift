import DatabusCore

extension DeliveryHeader {
  /// Headers that a rule or the configuration may add.
  public static let maximumCount = 64
  /// Bytes of all of them, names and values.
  public static let maximumBytes = 8 << 10

  /// Headers that belong to the connection, or that say where a message ends and to whom it goes (RFC 9110, section 7.6.1).
  private static let reserved: Set<String> = [
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
  ]

  /// What is wrong with the header, as the end of a sentence without its full stop; nil where it can be sent. The value is not
  /// repeated.
  public var problem: String? {
    if name.isEmpty { return "has no name" }
    guard name.utf8.allSatisfy(DeliveryHeader.isTokenByte) else {
      return "has a name that no header can have: letters, digits and \"-\" are permitted"
    }
    let name = name.lowercased()
    if DeliveryHeader.reserved.contains(name) { return "is one that only the dispatcher sets; leave it out" }
    if name.hasPrefix("webhook-") { return "begins with \"webhook-\", as the dispatcher's own do; choose another name" }
    guard DeliveryHeader.canCarry(value) else {
      return "has a value with a control character; only printable ones and tabs are permitted"
    }
    return nil
  }

  /// Whether a header's value may have these characters (RFC 9110, section 5.5): nothing that ends a line, and no other control
  /// character but the tab.
  package static func canCarry(_ value: String) -> Bool {
    value.utf8.allSatisfy { $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7F) }
  }

  /// RFC 9110, section 5.6.2.
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }

  /// What is wrong with headers that are sent together, as a sentence without its full stop; nil where nothing is.
  ///
  /// - Parameter place: what they are a member of, for the sentence: "delivery.headers".
  public static func problem(in headers: [DeliveryHeader], of place: String = "headers") -> String? {
    if headers.count > maximumCount {
      return "\"\(place)\" has \(headers.count) headers; at most \(maximumCount) are permitted"
    }
    var names: Set<String> = []
    var bytes = 0
    for header in headers {
      if let problem = header.problem { return "\"\(place)\": the header \(shown(header.name)) \(problem)" }
      bytes += header.name.utf8.count + header.value.utf8.count
      if !names.insert(header.name.lowercased()).inserted {
        return "\"\(place)\": the header \(shown(header.name)) is there twice; names are the same whatever their case"
      }
    }
    if bytes > maximumBytes {
      return "\"\(place)\" has \(bytes) bytes in all; at most \(maximumBytes) are permitted"
    }
    return nil
  }

  /// With its control characters escaped: the sentence ends up in logs and dead letters.
  private static func shown(_ name: String) -> String { JSONText.quoted(String(name.prefix(64))) }
}

extension DeliverySettings {
  /// What an attempt's deadline may be.
  public static let timeouts: ClosedRange<Duration> = .milliseconds(100) ... .seconds(60)
  /// How many attempts at a time one destination may have.
  public static let concurrencies = 1...1024
  /// How many attempts a second one destination may have.
  public static let rates = 0.001...1_000_000

  /// What makes it impossible to deliver by these settings, as a sentence without its full stop; nil where nothing does.
  public var problem: String? {
    if let problem = DeliveryHeader.problem(in: headers) { return problem }
    for header in headers {
      let name = header.name.lowercased()
      if name == "authorization", authentication != .none {
        return "\"headers\" has \"\(header.name)\" beside \"auth\": leave one of them out"
      }
      if format != .payload, name == "content-type" {
        return "\"headers\" has \"\(header.name)\", and \"format\": \"\(format.rawValue)\" sets it: leave it out"
      }
      if format != .payload, name.hasPrefix("ce-") {
        return "\"headers\" has \"\(header.name)\"; with \"format\": \"\(format.rawValue)\" these come from the event"
      }
    }
    if case .basic(let username, _) = authentication, username.contains(":") || !DeliveryHeader.canCarry(username) {
      return "the user name of \"auth\" has a \":\" or a control character, which basic authentication cannot carry"
    }
    return nil
  }
}
