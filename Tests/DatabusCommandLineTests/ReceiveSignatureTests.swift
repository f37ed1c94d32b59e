import Foundation
import Testing

@Suite("databus receive, with secrets", .serialized)
struct ReceiveSignatureTests {
  private static let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  private static let newSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

  /// Made by another implementation than the one that is tested.
  private func sign(
    _ databus: DatabusProcess, _ secret: String, id: String, age: Int = 0, _ body: String
  ) throws -> [String: String] {
    let time = Int(Date().timeIntervalSince1970) - age
    try databus.write("\(id).\(time).\(body)", to: "signed")
    try databus.python(
      """
      import hmac, base64
      key = base64.b64decode('\(secret.dropFirst(6))')
      code = hmac.new(key, open('signed', 'rb').read(), 'sha256').digest()
      open('signature', 'w').write('v1,' + base64.b64encode(code).decode())
      """)
    return ["webhook-timestamp": "\(time)", "webhook-signature": try databus.read("signature")]
  }

  @Test("a verdict stands on each line, and only what is genuine is taken", arguments: [true, false])
  func verdicts(_ isJSON: Bool) async throws {
    try await DatabusProcess.with { files in
      let options = ["--secret", Self.secret, "--secret", Self.newSecret] + (isJSON ? ["--json"] : ["--quiet"])
      try await DatabusProcess.with { databus in
        let receiver = try await ReceiverProcess(databus, options)
        let body = #"{"a": "é"}"#
        let good = try sign(files, Self.secret, id: "a", body)
        let new = try sign(files, Self.newSecret, id: "b", body)
        #expect(try await receiver.post("/", id: "a", good, body: body).status == 200)
        #expect(try await receiver.post("/", id: "b", new, body: body).status == 200)
        // Of several signatures one suffices.
        var both = new
        both["webhook-signature"] = "v1,AAAA v2,x " + (new["webhook-signature"] ?? "")
        #expect(try await receiver.post("/", id: "b", both, body: body).status == 200)

        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        let wrong = try sign(files, other, id: "c", body)
        let refused = try await receiver.post("/", id: "c", wrong, body: body)
        #expect(refused.status == 401)
        #expect(refused.body.contains("no signature matches"))
        #expect(try await receiver.post("/", id: "a", good, body: body + " ").status == 401)
        #expect(try await receiver.post("/", id: "d", good, body: body).status == 401)
        #expect(try await receiver.post("/", id: "e", body: body).status == 401)
        #expect(try await receiver.post("/", good, body: body).status == 401)
        for age in [400, -400] {
          let old = try sign(files, Self.secret, id: "f", age: age, body)
          #expect(try await receiver.post("/", id: "f", old, body: body).status == 401)
        }
        var malformed = good
        malformed["webhook-timestamp"] = "today"
        #expect(try await receiver.post("/?status=201", id: "a", malformed, body: body).status == 401)

        #expect(
          try await receiver.sums() == [
            "requests": 11, "deliveries": 6, "repeats": 4, "duplicates": 3, "withoutID": 1, "badSignatures": 8,
          ])
        if isJSON {
          let lines = try await receiver.shown(11)
          #expect(
            lines.map { $0["signature"] as? String } == [
              "good", "good", "good", "wrong", "wrong", "wrong", "missing", "missing", "old", "old", "malformed",
            ])
          #expect(lines.map { $0["signatureProblem"] as? String == nil } == (0..<11).map { $0 < 3 })
        }
        #expect(try await receiver.running.terminate().code == 0)
      }
    }
  }
}
