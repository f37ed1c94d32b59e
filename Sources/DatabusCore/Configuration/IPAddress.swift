#if canImport(Glibc)
  import Glibc
#endif

/// Addresses of the Internet Protocol as text.
public enum IPAddress {
  /// Whether the text is an IPv4 or IPv6 address in numbers.
  public static func isValid(_ text: String) -> Bool { bytes(text) != nil }

  /// The 4 bytes of an IPv4 address or the 16 of an IPv6 address, the first one first; nil where the text is neither.
  public static func bytes(_ text: String) -> [UInt8]? {
    // C ends a text at its first zero.
    if text.utf8.contains(0) { return nil }
    for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: count)
      if bytes.withUnsafeMutableBytes({ inet_pton(family, text, $0.baseAddress) }) == 1 { return bytes }
    }
    return nil
  }
}
