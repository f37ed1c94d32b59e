import Foundation
import Testing

@testable import Dispatcher

struct WebhookSignatureTests {
  /// Those of the Standard Webhooks libraries.
  private static let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  private static let id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
  private static let timestamp: Int64 = 1_614_265_330
  private static let body = Array(#"{"test": 2432232314}"#.utf8)
  private static let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

  private static func secret(_ byte: UInt8, count: Int = 32) -> String {
    "whsec_" + Data(repeating: byte, count: count).base64EncodedString()
  }

  private func sign(_ secrets: [String], _ body: [UInt8] = body) throws -> String {
    try WebhookSignature(secrets: secrets).header(
      id: Self.id, timestamp: Self.timestamp, bytes: body, body: 0..<body.count)
  }

  @Test func theKnownDeliveryHasTheKnownSignature() throws {
    #expect(try sign([Self.secret]) == Self.signature)
    #expect(try sign([String(Self.secret.dropFirst("whsec_".count))]) == Self.signature)
  }

  @Test func onlyTheBodyIsSignedOfWhatLiesAroundIt() throws {
    let bytes = Array("before".utf8) + Self.body + Array("behind".utf8)
    let header = try WebhookSignature(secrets: [Self.secret]).header(
      id: Self.id, timestamp: Self.timestamp, bytes: bytes, body: 6..<6 + Self.body.count)
    #expect(header == Self.signature)
  }

  @Test func eachSecretSignsWhileOneIsReplaced() throws {
    let other = Self.secret(7)
    let signatures = try sign([other, Self.secret]).split(separator: " ").map(String.init)
    #expect(signatures == [try sign([other]), Self.signature])
  }

  @Test(arguments: [
    ("whsec_not base64!", "is not base64"), ("", "has 0 bytes"), ("whsec_", "has 0 bytes"),
    (secret(1, count: 23), "has 23 bytes"), (secret(1, count: 65), "has 65 bytes"), ("whsec_MfKQ9r8GKYqrTwjU", "bytes"),
    ("whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "is not base64"),
  ])
  func aTextThatIsNoSecretIsRefusedAndNotRepeated(_ text: String, _ problem: String) throws {
    let found = try #require(WebhookSignature.problem(with: text))
    #expect(found.contains(problem))
    #expect(found.contains("whsec_"))
    if text.utf8.count > 6 { #expect(!found.contains(text.dropFirst(6))) }
    let error = #expect(throws: WebhookSignature.SecretProblem.self) {
      try WebhookSignature(secrets: [Self.secret, text])
    }
    #expect(error?.index == 1)
    #expect(error?.description == found)
  }

  @Test(arguments: [24, 32, 64]) func secretsOf24To64BytesAreTaken(_ count: Int) {
    #expect(WebhookSignature.problem(with: Self.secret(9, count: count)) == nil)
  }

  /// RFC 4231, test cases 1, 2 and 6: the last has a key that is longer than a block.
  @Test(arguments: [
    (
      [UInt8](repeating: 0x0B, count: 20), "Hi There",
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    ),
    (
      Array("Jefe".utf8), "what do ya want for nothing?",
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    ),
    (
      [UInt8](repeating: 0xAA, count: 131), "Test Using Larger Than Block-Size Key - Hash Key First",
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    ),
  ])
  func codesAreThoseOfTheSpecification(_ key: [UInt8], _ text: String, _ code: String) {
    var hmac = HMACSHA256(key: key)
    for _ in 0..<2 {
      hmac.update(text)
      #expect(hmac.finish().map { String(format: "%02x", $0) }.joined() == code)
    }
  }

  @Test func pythonSignsTheSame() throws {
    var generator = SystemRandomNumberGenerator()
    var cases: [(secret: String, id: String, timestamp: Int64, body: [UInt8])] = []
    for count in [0, 1, 54, 55, 56, 63, 64, 65, 127, 128, 1000, 70_000] {
      let key = Data((0..<Int.random(in: 24...64)).map { _ in UInt8.random(in: 0...255, using: &generator) })
      cases.append(
        (
          "whsec_" + key.base64EncodedString(), "id-\(count)", .random(in: 0...4_000_000_000),
          (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        ))
    }
    let input = cases.map {
      [$0.secret, $0.id, String($0.timestamp), Data($0.body).base64EncodedString()].joined(separator: "\t")
    }
    let script = """
      import base64, hashlib, hmac, sys
      for line in sys.stdin:
          secret, id, timestamp, body = line.rstrip("\\n").split("\\t")
          key = base64.b64decode(secret.removeprefix("whsec_"))
          content = f"{id}.{timestamp}.".encode() + base64.b64decode(body)
          print("v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode())
      """
    let output = try run("python3", ["-c", script], input: input.joined(separator: "\n") + "\n")
    let expected = output.split(separator: "\n").map(String.init)
    let ours = try cases.map {
      try WebhookSignature(secrets: [$0.secret]).header(
        id: $0.id, timestamp: $0.timestamp, bytes: $0.body, body: 0..<$0.body.count)
    }
    #expect(ours == expected)
  }

  private func run(_ program: String, _ arguments: [String], input: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    let typed = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(input.utf8).write(to: typed)
    defer { try? FileManager.default.removeItem(at: typed) }
    process.standardInput = try FileHandle(forReadingFrom: typed)
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: data, as: UTF8.self)
  }

  // MARK: Verifying

  private func problem(
    _ secrets: [String] = [secret], _ changes: [String: String?] = [:], body: [UInt8] = body, now: Int64 = timestamp
  ) throws -> WebhookSignature.VerificationProblem? {
    var headers: [String: String?] = [
      "webhook-id": Self.id, "webhook-timestamp": String(Self.timestamp), "webhook-signature": Self.signature,
    ]
    headers.merge(changes) { $1 }
    do {
      try WebhookSignature(secrets: secrets).verify(header: { headers[$0] ?? nil }, body: body, now: now)
      return nil
    } catch let problem as WebhookSignature.VerificationProblem {
      return problem
    }
  }

  @Test func whatWasSignedIsGenuineByAnyOfTheSecrets() throws {
    #expect(try problem() == nil)
    #expect(try problem([Self.secret(1), Self.secret]) == nil)
    #expect(try problem([Self.secret(1)]) == .noMatch)
    #expect(try problem([]) == .noMatch)
  }

  @Test func oneGoodSignatureAmongOthersIsEnough() throws {
    let others = "v1a,AAAA v1,AAAA v1, nonsense v1,!! "
    #expect(try problem([Self.secret], ["webhook-signature": others + Self.signature]) == nil)
    #expect(try problem([Self.secret], ["webhook-signature": others]) == .noMatch)
    let other = try sign([Self.secret(3)])
    #expect(try problem([Self.secret], ["webhook-signature": other + " " + Self.signature]) == nil)
  }

  @Test func whatWasChangedIsNotGenuine() throws {
    #expect(try problem([Self.secret], [:], body: Self.body + [0x20]) == .noMatch)
    #expect(try problem([Self.secret], [:], body: []) == .noMatch)
    #expect(try problem([Self.secret], ["webhook-id": "another"]) == .noMatch)
    #expect(try problem([Self.secret], ["webhook-timestamp": String(Self.timestamp + 1)]) == .noMatch)
    let cut = String(Self.signature.dropLast(4))
    #expect(try problem([Self.secret], ["webhook-signature": cut]) == .noMatch)
  }

  @Test(arguments: ["webhook-id", "webhook-timestamp", "webhook-signature"])
  func aMissingHeaderIsNamed(_ header: String) throws {
    #expect(try problem([Self.secret], [header: String?.none]) == .missing(header))
  }

  @Test(arguments: ["", "x", "+1614265330", "01614265330", "-1", "1614265330.5", "99999999999999999999", " 1614265330"])
  func aTimestampThatIsNoneIsRefused(_ text: String) throws {
    #expect(try problem([Self.secret], ["webhook-timestamp": text]) == .malformedTimestamp)
  }

  @Test func aTimestampMayBeFiveMinutesFromTheClock() throws {
    #expect(try problem(now: Self.timestamp + 300) == nil)
    #expect(try problem(now: Self.timestamp - 300) == nil)
    #expect(try problem(now: Self.timestamp + 301) == .outsideTolerance(age: 301))
    #expect(try problem(now: Self.timestamp - 301) == .outsideTolerance(age: -301))
  }

  @Test func problemsSayWhatToDo() {
    let problems: [WebhookSignature.VerificationProblem] = [
      .missing("webhook-id"), .malformedTimestamp, .outsideTolerance(age: 301), .outsideTolerance(age: -301), .noMatch,
    ]
    #expect(Set(problems.map(\.description)).count == problems.count)
    #expect(problems[3].description.contains("301 s ahead"))
  }
}
