import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// Runs what blocks on a thread of its own.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}

/// A program that serves a port of its own choice, and says its number first.
final class ServerProcess: Sendable {
  let port: Int
  private let process: Process

  struct Failure: Error { var what: String }

  private init(_ process: Process, port: Int) {
    self.process = process
    self.port = port
  }

  static func start(_ program: String, _ arguments: [String]) async throws -> ServerProcess {
    try await onThread {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [program] + arguments
      let output = Pipe()
      process.standardOutput = output
      process.standardInput = FileHandle.nullDevice
      try process.run()
      let said = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
      guard let port = Int(said.trimmingCharacters(in: .whitespacesAndNewlines)) else {
        kill(process.processIdentifier, SIGKILL)
        throw Failure(what: "\(program) does not start: \(said)")
      }
      return ServerProcess(process, port: port)
    }
  }

  /// Not waited for: Foundation collects what is left of it.
  func stop() { kill(process.processIdentifier, SIGKILL) }
}

/// Certificates of servers.
enum Certificate: String, CaseIterable {
  case good
  /// It has expired.
  case expired
  /// It was made out to another host.
  case stranger

  /// Serves this certificate, and answers everything with 200.
  func serve(_ folder: CertificateFolder) async throws -> ServerProcess {
    try await ServerProcess.start(
      "python3",
      [
        "-c",
        """
        import http.server, ssl, sys
        class Handler(http.server.BaseHTTPRequestHandler):
          def do_POST(self):
            self.rfile.read(int(self.headers.get('Content-Length', 0)))
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()
          def log_message(self, *arguments): pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        class Server(http.server.ThreadingHTTPServer):
          def handle_error(self, request, client_address): pass
          def finish_request(self, request, client_address):
            super().finish_request(context.wrap_socket(request, server_side=True), client_address)
        server = Server(('127.0.0.1', 0), Handler)
        print(server.server_port, flush=True)
        server.serve_forever()
        """, folder.path("\(self).crt"), folder.path("\(self).key"),
      ])
  }
}

/// Certificates that are made for a test, and the authority that has signed them.
final class CertificateFolder: Sendable {
  let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("databus-tls-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try openssl(
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
      "/CN=databus-test-ca", "-keyout",
      path("ca.key"), "-out", path("ca.pem"))
    for (certificate, host, days) in [
      (Certificate.good, "DNS:localhost,IP:127.0.0.1", "30"), (.expired, "DNS:localhost", "-1"),
      (.stranger, "DNS:elsewhere.example", "30"),
    ] {
      let name = certificate.rawValue
      try openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=databus-test",
        "-keyout", path("\(name).key"), "-out",
        path("\(name).csr"))
      try "subjectAltName=\(host)\n".write(toFile: path("\(name).ext"), atomically: true, encoding: .utf8)
      try openssl(
        "x509", "-req", "-in", path("\(name).csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
        "-CAcreateserial", "-days", days, "-extfile", path("\(name).ext"), "-out", path("\(name).crt"))
    }
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

  private func openssl(_ arguments: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl"] + arguments
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    if process.terminationStatus != 0 { throw ServerProcess.Failure(what: text) }
  }
}
