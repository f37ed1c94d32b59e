import Foundation
import Testing

@testable import DatabusCore

/// The vectors of docs/delivery-ids.md, which Python's hashlib computed.
@Suite struct DeliveryIDTests {
  static let vectors: [(EventIdentity, rule: String, action: UInt64, id: String)] = [
    (
      .cloudEvent(source: Array("https://example.com/shop".utf8), id: Array("A234-1234-1234".utf8)), "rule_a", 0,
      "f8aab6767668c38c675c5451651602dd"
    ),
    (.cloudEvent(source: Array("/a".utf8), id: Array("1".utf8)), "r", 0, "ae16bfa8424e27b0a89814ed409c6444"),
    (.cloudEvent(source: Array("é".utf8), id: [0]), "règle", 0, "0035d34263592351820f1a8d99d7cdbc"),
    (
      .position(incarnation: "kafka:abc/events", partition: 3, position: 123_456, timestamp: 1_795_357_798_798),
      "rule_a", 0, "3a190a75065f098098c5a1c27fc11ce8"
    ),
    (
      .position(incarnation: "kafka:abc/events", partition: 3, position: 123_456, timestamp: 1_795_357_798_799),
      "rule_a", 0, "37e4915480a0931fa575518851042b53"
    ),
    (
      .position(incarnation: "5f9c", partition: 0, position: 0, timestamp: nil), "rule_a", 0,
      "8a9d3d5f95f4224e1984fc44c8f406c9"
    ),
    (
      .position(incarnation: "5f9c", partition: 0, position: .max, timestamp: -1), "rule_b", 0,
      "95f84b3bb68ae19656299b9bf1d3ee80"
    ),
    (
      .position(incarnation: "5f9c", partition: 0, position: 0, timestamp: nil), "rule_a", 1,
      "c9da8726193accafacc24579db924aaf"
    ),
  ]

  @Test func deliveryIDsAreTheDocumentedOnes() throws {
    let page = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../docs/delivery-ids.md"), encoding: .utf8)
    for vector in DeliveryIDTests.vectors {
      #expect(vector.0.deliveryID(ruleID: vector.rule, action: vector.action).description == vector.id)
      #expect(page.contains(vector.id))
    }
  }

  @Test func deadLetterIDsAreTheDocumentedOnes() {
    func id(
      _ stream: String, _ timestamp: Int64?, _ rule: String?, _ reason: DeadLetterReason, detail: String = "d"
    ) -> String {
      DeadLetterWriter.id(
        .init(
          partition: PartitionID(stream: stream, incarnation: "5f9c", index: 0), position: 7, timestamp: timestamp,
          reason: reason, detail: detail, ruleID: rule)
      ).description
    }
    #expect(id("events", 1_795_357_798_798, nil, .notJSON) == "50ca3e9cb15dea207c8f7d5f27fc4770")
    #expect(id("rules", nil, "rule_a", .ruleInvalid) == "f118df7db1b30d82163dac9f3558d3cc")
    // What people read may change between releases.
    #expect(id("rules", nil, "rule_a", .ruleInvalid, detail: "other") == "f118df7db1b30d82163dac9f3558d3cc")
  }

  @Test func whereOnePartEndsAndTheNextBeginsIsPartOfTheID() {
    var ids: Set<DeliveryID> = []
    var count = 0
    func add(_ identity: EventIdentity, _ rule: String) {
      ids.insert(identity.deliveryID(ruleID: rule))
      count += 1
    }
    func cloudEvent(_ source: String, _ id: String) -> EventIdentity {
      .cloudEvent(source: Array(source.utf8), id: Array(id.utf8))
    }
    add(cloudEvent("ab", "c"), "d")
    add(cloudEvent("a", "bc"), "d")
    add(cloudEvent("ab", "cd"), "")
    add(cloudEvent("c", "ab"), "d")
    for timestamp in [nil, 0, 1, 8] as [Int64?] {
      add(.position(incarnation: "a", partition: 0, position: 1, timestamp: timestamp), "d")
      add(.position(incarnation: "a", partition: 1, position: 0, timestamp: timestamp), "d")
      add(.position(incarnation: "b", partition: 0, position: 1, timestamp: timestamp), "d")
      // A rule's id of eight bytes could look like a number.
      add(.position(incarnation: "a", partition: 0, position: 1, timestamp: timestamp), "\0\0\0\0\0\0\0\u{1}")
    }
    #expect(ids.count == count)
  }
}
