#if canImport(Glibc)
  import Glibc
#endif

/// Addresses of the Internet Protocol as text.
public enum IPAddress {
  /// Whether the text is an IPv4 or IPv6 address in numbers.
  public static func isValid(_ text: String) -> Bool {
    // Both kinds fit into 16 bytes.
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 4) { room in
      inet_pton(AF_INET, text, room.baseAddress) == 1 || inet_pton(AF_INET6, text, room.baseAddress) == 1
    }
  }
}
