import DatabusCore
import Foundation
import Testing

/// Pages that the program writes are what it writes.
struct GeneratedPageTests {
  @Test(arguments: [
    "docs/configuration.md", "docs/configuration.schema.json", "docs/rule.schema.json", "docs/commands.md",
  ])
  func pageIsWhatTheProgramWrites(_ page: String) throws {
    let workspace = try Workspace()
    let result = try workspace.run("bin/support/generate-docs --print \(page)")
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output == (try Repository.text(page)), "make it anew with bin/support/generate-docs")
  }
}

/// The router hashes in a way of its own, for speed: what the program writes must be what the identity's own function gives.
struct DeliveryIDTests {
  private func id(_ event: String, rule: String, runID: String) throws -> String {
    let workspace = try Workspace()
    try workspace.write(
      #"{"ruleId": "\#(rule)", "events": ["*"], "destinationUrl": "https://a.b/c"}"# + "\n", to: "rules.jsonl")
    let result = try workspace.run(
      "databus route --rules rules.jsonl --run-id '\(runID)' 2>/dev/null", input: event + "\n")
    return try #require(result.output.firstMatch(of: /"id":"([0-9a-f]{32})"/).map { String($0.1) }, "\(result.output)")
  }

  @Test(arguments: [
    "rule_a",
    "a rule whose id does not fit into one block of the hash, nor into two: \(String(repeating: "é", count: 50))",
  ])
  func ofAPosition(_ rule: String) throws {
    let identity = EventIdentity.position(incarnation: "run-42", partition: 0, position: 0, timestamp: nil)
    let written = try id(#"{"type": "t"}"#, rule: rule, runID: "run-42")
    #expect(written == identity.deliveryID(ruleID: rule).description)
  }

  @Test func ofACloudEvent() throws {
    let event = #"{"specversion": "1.0", "type": "t", "source": "https://example.com/shop", "id": "\u0034711"}"#
    let identity = EventIdentity.cloudEvent(source: Array("https://example.com/shop".utf8), id: Array("4711".utf8))
    let written = try id(event, rule: "rule_a", runID: "x")
    #expect(written == identity.deliveryID(ruleID: "rule_a").description)
  }
}
