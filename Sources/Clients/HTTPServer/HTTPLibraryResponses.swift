import CMicroHTTPD

/// Answers as the library knows them. The last one is kept: a server that says the same again and again makes it once.
struct HTTPLibraryResponses {
  private var last: (response: HTTPResponse, made: OpaquePointer)?

  /// A larger body is not kept.
  private static let keptBodyBytes = 4 << 10

  /// Hands an answer to the library. One that it cannot send ends the connection.
  mutating func send(_ response: HTTPResponse, _ connection: OpaquePointer, _ loop: HTTPServerLoop) -> MHD_Result {
    if let last, last.response == response { return queue(last.made, response, connection) }
    guard let made = HTTPLibraryResponses.make(response, connection, loop) else { return databus_mhd_no }
    let result = queue(made, response, connection)
    if response.pace == nil, response.body.count <= HTTPLibraryResponses.keptBodyBytes {
      removeAll()
      last = (response, made)
    } else {
      MHD_destroy_response(made)
    }
    return result
  }

  /// Lets go of what is kept. Must be called at the end.
  mutating func removeAll() {
    if let last { MHD_destroy_response(last.made) }
    last = nil
  }

  private func queue(_ made: OpaquePointer, _ response: HTTPResponse, _ connection: OpaquePointer) -> MHD_Result {
    MHD_queue_response(connection, UInt32(clamping: response.status), made)
  }

  private static func make(
    _ response: HTTPResponse, _ connection: OpaquePointer, _ loop: HTTPServerLoop
  ) -> OpaquePointer? {
    let made =
      if let pace = response.pace {
        HTTPPacedBody(response, pace, loop, connection).libraryResponse()
      } else {
        response.body.withUnsafeBytes { databus_mhd_response($0.baseAddress, $0.count) }
      }
    guard let made else { return nil }
    for header in response.headers where MHD_add_response_header(made, header.name, header.value) != databus_mhd_yes {
      MHD_destroy_response(made)
      return nil
    }
    return made
  }
}
