import CCurl

#if canImport(Glibc)
  import Glibc
#endif

extension HTTPClient.Configuration {
  /// The configuration, where it can be used.
  ///
  /// - Throws: what is wrong with it, and what to write.
  func checked() throws(HTTPClientError) -> HTTPClient.Configuration {
    let numbers = [
      ("connections", maximumConnections), ("connections per host", maximumConnectionsPerHost),
      ("bytes of an answer's body", maximumBodyBytes), ("bytes of an answer's head", maximumHeadBytes),
    ]
    for (name, value) in numbers where value < 1 || value > Int32.max {
      throw HTTPClientError("an HTTP client cannot work with \(value) \(name): write a number from 1 on")
    }
    if keptBodyBytes < 0 { throw HTTPClientError("an HTTP client cannot keep \(keptBodyBytes) bytes of an answer") }
    if connectTimeout <= .zero { throw HTTPClientError("an HTTP client needs more time than none to connect") }
    if userAgent.isEmpty || userAgent.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) {
      throw HTTPClientError("the user agent is empty or has a control character")
    }
    if let authorityFile, access(authorityFile, R_OK) != 0 {
      throw HTTPClientError(
        "the certificates in \"\(authorityFile)\" cannot be read: \(String(cString: strerror(errno)))")
    }
    if let proxy { _ = try HTTPClient.Configuration.proxyPlace(proxy) }
    return self
  }

  /// Host and port of a proxy, without user and password.
  static func proxyPlace(_ proxy: String) throws(HTTPClientError) -> String {
    let isClean = proxy.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
    guard let handle = curl_url() else { throw HTTPClientError("an HTTP client cannot be made: no memory") }
    defer { curl_url_cleanup(handle) }
    func part(_ part: CURLUPart) -> String? {
      var text: UnsafeMutablePointer<CChar>?
      guard curl_url_get(handle, part, &text, 0) == CURLUE_OK, let text else { return nil }
      defer { curl_free(text) }
      return String(cString: text)
    }
    guard isClean, curl_url_set(handle, CURLUPART_URL, proxy, 0) == CURLUE_OK, let host = part(CURLUPART_HOST),
      let port = part(CURLUPART_PORT), ["http", "https"].contains(part(CURLUPART_SCHEME))
    else {
      // Without the text: it may hold a password.
      throw HTTPClientError("the proxy cannot be used: write http:// or https://, its host and its port")
    }
    return "\(host):\(port)"
  }
}
