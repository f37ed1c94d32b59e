import DatabusCore

/// What `dispatcher.channels.http.allow` may list: addresses, blocks of them (CIDR) and names of hosts.
enum AllowedAddress {
  /// What is wrong with an entry, as the end of the sentence "it ..."; nil where nothing is.
  @Sendable
  static func problem(of text: String) -> String? {
    if IPAddress.bytes(text) != nil { return nil }
    guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")) else { return problem(ofHost: text.lowercased()) }
    guard let address = IPAddress.bytes(String(text[..<slash])) else { return "has no address before its \"/\"" }
    let digits = text[text.index(after: slash)...]
    guard let bits = Int(digits), String(bits) == digits, (0...address.count * 8).contains(bits) else {
      return "has no number of bits from 0 to \(address.count * 8) behind its \"/\""
    }
    for (index, byte) in address.enumerated() where byte & (0xFF >> UInt8(min(max(bits - index * 8, 0), 8))) != 0 {
      return "is no block: the bits behind the first \(bits) must be 0"
    }
    return nil
  }

  private static func problem(ofHost name: String) -> String? {
    let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let isName = labels.allSatisfy { label in
      (1...63).contains(label.count)
        && label.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == 0x2D || $0 == 0x5F }
    }
    // What ends in a number is an address in one of the notations that resolvers know.
    guard isName, let last = labels.last?.first, !(48...57).contains(last) else {
      return "is neither an address, nor a block of addresses, nor a host's name"
    }
    return nil
  }
}
