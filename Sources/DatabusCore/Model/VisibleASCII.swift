extension String {
  /// Whether all characters are printable ASCII and no spaces: what may stand in a header or a token. True of an empty text.
  package var isVisibleASCII: Bool { isVisibleASCII(butNot: 0) }

  /// - Parameter excluded: a character that may not stand there either.
  package func isVisibleASCII(butNot excluded: UInt8) -> Bool {
    var text = self
    return text.withUTF8 { bytes in
      for byte in bytes where byte <= 0x20 || byte >= 0x7F || byte == excluded { return false }
      return true
    }
  }
}
