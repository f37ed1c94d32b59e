import CCurl

#if canImport(Glibc)
  import Glibc
#endif

extension HTTPTransfer {
  /// What a request has come to.
  ///
  /// - Parameter code: how libcurl ended it.
  func outcome(_ code: CURLcode) -> Result<HTTPClientResponse, HTTPClientFailure> {
    guard code == CURLE_OK || (code == CURLE_WRITE_ERROR && isCutOff) else { return .failure(whole(failure(code))) }
    let status = databus_curl_number(easy, CURLINFO_RESPONSE_CODE)
    if status == 0 { return .failure(whole(failure(CURLE_WEIRD_SERVER_REPLY))) }
    return .success(HTTPClientResponse(status: status, retryAfter: retryAfter, body: keptBody))
  }

  /// With whether anything of the request was written.
  private func whole(_ failure: HTTPClientFailure) -> HTTPClientFailure {
    var failure = failure
    failure.mayHaveArrived = failure.mayHaveArrived || databus_curl_number(easy, CURLINFO_REQUEST_SIZE) > 0
    return failure
  }

  private func failure(_ code: CURLcode) -> HTTPClientFailure {
    guard let request else { return HTTPClientFailure(.closed, "the request is over") }
    let place = request.destination.place
    // A tunnel's answer that is no success is the proxy's own.
    let tunnel = databus_curl_number(easy, CURLINFO_HTTP_CONNECTCODE)
    if let proxyPlace, tunnel != 0, !(200..<300).contains(tunnel) {
      return HTTPClientFailure(
        .connection, "the proxy \(proxyPlace) does not let us through to \(place): it answered \(tunnel)",
        isProxyFault: true)
    }
    switch code {
    case CURLE_URL_MALFORMAT: return HTTPURL.refusal("libcurl does not take it")
    case CURLE_COULDNT_RESOLVE_HOST:
      return HTTPClientFailure(.resolution, "the name \(request.destination.url.host) cannot be resolved to an address")
    case CURLE_COULDNT_RESOLVE_PROXY, CURLE_PROXY:
      return HTTPClientFailure(
        .connection,
        code == CURLE_PROXY
          ? "the proxy \(proxyPlace ?? "") does not make a connection to \(place)"
          : "the name of the proxy \(proxyPlace ?? "") cannot be resolved to an address", isProxyFault: true)
    case CURLE_COULDNT_CONNECT: return connectionFailure(place)
    case CURLE_OPERATION_TIMEDOUT: return timeoutFailure(request)
    case CURLE_PEER_FAILED_VERIFICATION: return certificateFailure(request)
    case CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CIPHER, CURLE_USE_SSL_FAILED, CURLE_SSL_ENGINE_INITFAILED,
      CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR:
      return HTTPClientFailure(.tls, "there is no TLS connection to \(place): \(detail(code))")
    case CURLE_GOT_NOTHING:
      return HTTPClientFailure(.connection, "\(place) closed the connection without an answer")
    case CURLE_PARTIAL_FILE:
      return HTTPClientFailure(.connection, "\(place) closed the connection before its answer's end")
    case CURLE_SEND_ERROR:
      return HTTPClientFailure(.connection, "the connection to \(place) was lost while the request was sent")
    case CURLE_RECV_ERROR:
      return HTTPClientFailure(
        .connection, "the connection to \(place) was lost before the answer's end: \(detail(code))")
    case CURLE_ABORTED_BY_CALLBACK:
      return HTTPClientFailure(
        .connection,
        "\(place) closed a connection that had been kept, without an answer; whether it took the request is not known")
    case CURLE_WRITE_ERROR where isHeadTooLarge:
      return HTTPClientFailure(.notHTTP, "the answer of \(place) has a head that is too large")
    case CURLE_WEIRD_SERVER_REPLY, CURLE_UNSUPPORTED_PROTOCOL, CURLE_HTTP2, CURLE_HTTP2_STREAM,
      CURLE_BAD_CONTENT_ENCODING, CURLE_WRITE_ERROR:
      return HTTPClientFailure(.notHTTP, "what \(place) answered is not HTTP: \(detail(code))")
    default:
      return HTTPClientFailure(.connection, "the request to \(place) failed: \(detail(code))")
    }
  }

  /// libcurl's words: what it noted, else what the code means. Its notes about these errors hold neither path nor
  /// query.
  private func detail(_ code: CURLcode) -> String {
    let text = detail
    return text.isEmpty ? String(cString: curl_easy_strerror(code)) : text
  }

  private func connectionFailure(_ place: String) -> HTTPClientFailure {
    if let denial, openedSockets == 0 {
      // The host is a name: one that is an address was refused before.
      return AddressPolicy.failure(place, leadingTo: denial)
    }
    let target = proxyPlace.map { "the proxy \($0)" } ?? place
    let error = socketError != 0 ? socketError : Int32(clamping: databus_curl_number(easy, CURLINFO_OS_ERRNO))
    let reason: String
    switch error {
    case ECONNREFUSED: reason = "it refuses the connection: nothing listens there"
    case EMFILE, ENFILE: reason = "there are too many open files: raise the limit (ulimit -n)"
    case 0: reason = "there is no way to it"
    default: reason = String(cString: strerror(error))
    }
    return HTTPClientFailure(
      .connection, "\(target) cannot be connected to: \(reason)", isProxyFault: proxyPlace != nil)
  }

  private func certificateFailure(_ request: Request) -> HTTPClientFailure {
    let place = request.destination.place
    let code = databus_curl_number(easy, CURLINFO_SSL_VERIFYRESULT)
    let reason: String
    // OpenSSL's numbers (X509_verify_cert_error_string).
    switch code {
    // Not looked at yet: the name comes first.
    case 0, 1:
      reason =
        detail.contains("target host name")
        ? "it was made out to another name than \(request.destination.url.host)"
        : detail(CURLE_PEER_FAILED_VERIFICATION)
    case 9: reason = "it is not valid yet"
    case 10: reason = "it has expired"
    case 18: reason = "it is signed by itself, and by nobody who is trusted here"
    case 2, 19, 20, 21: reason = "it is signed by somebody who is not trusted here"
    case 23: reason = "it was revoked"
    default: reason = detail(CURLE_PEER_FAILED_VERIFICATION)
    }
    return HTTPClientFailure(.tls, "the certificate of \(place) is not accepted: \(reason)")
  }

  /// A request that was not over in time.
  func timeoutFailure(_ request: Request) -> HTTPClientFailure {
    let place = request.destination.place
    let limit = request.timeout
    func isReached(_ phase: CURLINFO) -> Bool { databus_curl_time(easy, phase) > 0 }
    if isReached(CURLINFO_STARTTRANSFER_TIME_T) || headCount > 0 {
      let status = databus_curl_number(easy, CURLINFO_RESPONSE_CODE)
      let came = status == 0 ? "" : " (status \(status) had come)"
      return HTTPClientFailure(.timeout, "the answer of \(place) had not ended after \(limit.inWords)\(came)")
    }
    if sendCount > 0 { return HTTPClientFailure(.timeout, "\(place) did not answer within \(limit.inWords)") }
    let connectLimit = min(limit, connectTimeout).inWords
    let target = proxyPlace.map { "the proxy \($0)" } ?? place
    let isProxyFault = proxyPlace != nil
    // The only sign of a TCP connection before all of it is done.
    if databus_curl_number(easy, CURLINFO_NUM_CONNECTS) > 0 {
      return HTTPClientFailure(
        .timeout, "\(place) did not finish the TLS handshake within \(connectLimit)", isProxyFault: false)
    }
    if isReached(CURLINFO_NAMELOOKUP_TIME_T) {
      return HTTPClientFailure(
        .timeout, "\(target) did not take the connection within \(connectLimit)", isProxyFault: isProxyFault)
    }
    return HTTPClientFailure(
      .timeout,
      "there was no connection to \(target) within \(connectLimit): its name was not resolved, or none was free",
      isProxyFault: isProxyFault)
  }
}

extension HTTPClientFailure {
  /// A request whose turn did not come in time.
  static func noConnection(_ request: HTTPTransfer.Request) -> HTTPClientFailure {
    HTTPClientFailure(
      .timeout,
      "no connection was free for \(request.destination.place) within \(request.timeout.inWords): "
        + "too many requests are under way")
  }
}

extension Duration {
  /// For people: `15 s`, `1.5 s`, `250 ms`.
  var inWords: String {
    let milliseconds = Int64((self / .milliseconds(1)).rounded())
    if milliseconds < 1000 { return "\(milliseconds) ms" }
    return milliseconds % 1000 == 0 ? "\(milliseconds / 1000) s" : "\(Double(milliseconds / 100) / 10) s"
  }
}
