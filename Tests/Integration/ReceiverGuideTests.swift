import Dispatcher
import Foundation
import Testing

/// The receiver's code of docs/webhooks.md takes what the dispatcher signs, and nothing else.
struct ReceiverGuideTests {
  private struct Delivery: Encodable {
    var headers: [String: String]
    /// In base64.
    var body: String
    var secrets: [String]
  }

  private static let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  private static let newKey = "whsec_" + Data(repeating: 5, count: 64).base64EncodedString()
  private static let now = Int64(Date().timeIntervalSince1970)

  private static func delivery(
    _ body: [UInt8] = Array(#"{"type": "ä"}"#.utf8), signedWith keys: [String] = [key],
    verifiedWith secrets: [String] = [key],
    timestamp: Int64 = now, _ change: (inout Delivery) -> Void = { _ in }
  ) throws -> Delivery {
    let signature = try WebhookSignature(secrets: keys).header(
      id: "0123", timestamp: timestamp, bytes: body, body: 0..<body.count)
    var delivery = Delivery(
      headers: ["webhook-id": "0123", "webhook-timestamp": "\(timestamp)", "webhook-signature": signature],
      body: Data(body).base64EncodedString(), secrets: secrets)
    change(&delivery)
    return delivery
  }

  private static func cases() throws -> [(name: String, isGenuine: Bool, delivery: Delivery)] {
    [
      ("as it was sent", true, try delivery()),
      ("an empty body", true, try delivery([])),
      ("any bytes", true, try delivery((0...255).map { UInt8($0) })),
      ("signed with both secrets, the old one known", true, try delivery(signedWith: [newKey, key])),
      (
        "signed with both secrets, the new one known", true,
        try delivery(signedWith: [newKey, key], verifiedWith: [newKey])
      ),
      ("both secrets known", true, try delivery(verifiedWith: [newKey, key])),
      ("a secret without its prefix", true, try delivery(verifiedWith: [String(key.dropFirst(6))])),
      ("four minutes old", true, try delivery(timestamp: now - 240)),
      (
        "other versions beside it", true,
        try delivery { $0.headers.merge(["webhook-signature": "v1a,AAAA "]) { $1 + $0 } }
      ),
      ("another secret", false, try delivery(verifiedWith: [newKey])),
      ("no secret", false, try delivery(verifiedWith: [])),
      ("ten minutes old", false, try delivery(timestamp: now - 600)),
      ("ten minutes ahead", false, try delivery(timestamp: now + 600)),
      ("another body", false, try delivery { $0.body = "e30=" }),
      ("another id", false, try delivery { $0.headers["webhook-id"] = "0124" }),
      ("another time", false, try delivery { $0.headers["webhook-timestamp"] = "\(now - 1)" }),
      ("a time that is none", false, try delivery { $0.headers["webhook-timestamp"] = "now" }),
      ("no time", false, try delivery { $0.headers["webhook-timestamp"] = nil }),
      ("no signature", false, try delivery { $0.headers["webhook-signature"] = nil }),
      ("an empty signature", false, try delivery { $0.headers["webhook-signature"] = "v1," }),
      ("nonsense for a signature", false, try delivery { $0.headers["webhook-signature"] = "v1,\u{e4} ,, v1 v2,x" }),
    ]
  }

  private func check(_ language: String, _ program: String, _ harness: String) throws {
    let blocks = MarkdownBlock.all(in: try Repository.text("docs/webhooks.md"), document: "docs/webhooks.md")
    let code = try #require(blocks.first { $0.language == language && $0.has("receiver") }).text
    let cases = try Self.cases()
    let workspace = try Workspace()
    try workspace.write(code + harness, to: "receiver")
    let input = String(decoding: try JSONEncoder().encode(cases.map(\.delivery)), as: UTF8.self)
    let result = try workspace.run("\(program) receiver", input: input)
    #expect(result.status == 0, "\(result.output)")
    let answers = result.output.split(separator: "\n").map(String.init)
    try #require(answers.count == cases.count, "\(result.output)")
    for (answer, expected) in zip(answers, cases) {
      #expect(answer == (expected.isGenuine ? "yes" : "no"), "\(expected.name)")
    }
  }

  @Test func inPython() throws {
    try check(
      "python", "python3",
      """
      import json, sys
      for d in json.load(sys.stdin):
          print("yes" if verify(d["headers"], base64.b64decode(d["body"]), d["secrets"]) else "no")
      """)
  }

  private static let hasNode = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
    FileManager.default.isExecutableFile(atPath: "\($0)/node")
  }

  @Test(.enabled(if: hasNode, "there is no node on the PATH")) func inNode() throws {
    try check(
      "javascript", "node",
      """
      for (const d of JSON.parse(require("node:fs").readFileSync(0, "utf8"))) {
        console.log(verify(d.headers, Buffer.from(d.body, "base64"), d.secrets) ? "yes" : "no");
      }
      """)
  }
}
