import Foundation
import HTTPClient
import Testing

struct HTTPClientTLSTests {
  private func exchange(
    _ certificate: Certificate, authority: String? = "ca.pem", host: String = "localhost"
  ) async throws -> Result<HTTPClientResponse, HTTPClientFailure> {
    let folder = try await onThread { try CertificateFolder() }
    defer { folder.remove() }
    let server = try await certificate.serve(folder)
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.authorityFile = authority.map { folder.path($0) }
    let client = try HTTPClient(configuration)
    let answer = await client.exchange("https://\(host):\(server.port)/secret")
    await client.close()
    if let failure = answer.failure {
      #expect(failure.message.contains("\(host):\(server.port)"))
      #expect(!failure.message.contains("secret"))
    }
    return answer
  }

  @Test func aCertificateOfATrustedAuthorityIsAccepted() async throws {
    #expect(try await exchange(.good).status == 200)
    #expect(try await exchange(.good, host: "127.0.0.1").status == 200)
  }

  @Test func anAuthorityThatNobodyTrustsIsToldSo() async throws {
    let failure = try #require(try await exchange(.good, authority: nil).failure)
    #expect(failure.kind == .tls)
    #expect(failure.message.hasSuffix("is not accepted: it is signed by somebody who is not trusted here"))
  }

  @Test func aCertificateThatHasExpiredIsToldSo() async throws {
    let failure = try #require(try await exchange(.expired).failure)
    #expect(failure.kind == .tls)
    #expect(failure.message.hasSuffix("is not accepted: it has expired"))
  }

  @Test func aCertificateOfAnotherHostIsToldSo() async throws {
    let failure = try #require(try await exchange(.stranger).failure)
    #expect(failure.kind == .tls)
    #expect(failure.message.hasSuffix("it was made out to another name than localhost"))
  }

  @Test func aServerWithoutTLSIsToldSo() async throws {
    let server = try RawServer { $0.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") }
    defer { server.stop() }
    try await withClient { client in
      let failure = try #require(await client.exchange("https://127.0.0.1:\(server.port)/").failure)
      #expect(failure.kind == .tls)
      #expect(failure.message.hasPrefix("there is no TLS connection to 127.0.0.1:\(server.port): "))
    }
  }

  @Test func aHandshakeThatHangsEndsAtTheConnectTimeout() async throws {
    let server = try RawServer { $0.waitForEnd() }
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.connectTimeout = .milliseconds(300)
    try await withClient(configuration) { client in
      // The second waits whether the first one's connection carries several requests.
      let collector = Collector()
      let url = "https://127.0.0.1:\(server.port)/"
      client.send((0..<2).map { HTTPClientRequest(number: $0, url: url, timeout: .seconds(2)) }, collector)
      for result in await collector.wait(for: 2) {
        #expect(result.outcome.failure?.kind == .timeout)
        if result.number == 0 {
          let message = try #require(result.outcome.failure?.message)
          #expect(message.hasSuffix("did not finish the TLS handshake within 300 ms"), "\(message)")
        }
      }
    }
  }

  private static let node = ["/usr/bin/node", "/usr/local/bin/node"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  @Test("many requests share one connection over HTTP/2", .enabled(if: node != nil, "there is no Node.js"))
  func http2() async throws {
    let folder = try await onThread { try CertificateFolder() }
    defer { folder.remove() }
    let server = try await ServerProcess.start(
      "node",
      [
        "-e",
        """
        const http2 = require('http2'), fs = require('fs');
        let connections = 0;
        const server = http2.createSecureServer({
          key: fs.readFileSync('\(folder.path("good.key"))'), cert: fs.readFileSync('\(folder.path("good.crt"))'),
          settings: { maxConcurrentStreams: 1000 } });
        server.on('session', () => connections++);
        server.on('stream', (stream, headers) => {
          let body = '';
          stream.on('data', (part) => body += part);
          stream.on('end', () => {
            stream.respond({ ':status': 200, 'retry-after': '5' });
            stream.end(connections + ' ' + body);
          });
          stream.on('error', () => {});
        });
        server.listen(0, '127.0.0.1', () => console.log(server.address().port));
        """,
      ])
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.authorityFile = folder.path("ca.pem")
    try await withClient(configuration) { client in
      let collector = Collector()
      client.send(
        (0..<80).map {
          HTTPClientRequest(number: $0, url: "https://localhost:\(server.port)/", bytes: Array("n\($0)".utf8))
        }, collector)
      for result in await collector.wait(for: 80) {
        let response = try result.outcome.get()
        #expect(response.retryAfter == "5")
        #expect(String(decoding: response.body, as: UTF8.self) == "1 n\(result.number)")
      }
    }
  }
}
