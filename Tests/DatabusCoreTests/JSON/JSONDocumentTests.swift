import Foundation
import Testing

@testable import DatabusCore

/// The traps of simdjson's tape (docs/decisions), each with what Databus makes of it.
@Suite struct JSONDocumentTests {
  private func value(_ text: String, depth: Int = 128) throws(JSONError) -> JSONValue {
    try JSONDocument.value(of: Array(text.utf8), depth: depth)
  }

  private func kind(_ bytes: [UInt8], depth: Int = 128) -> JSONError.Kind? {
    do throws(JSONError) {
      _ = try JSONDocument.value(of: bytes, depth: depth)
      return nil
    } catch { return error.kind }
  }

  private func kind(_ text: String) -> JSONError.Kind? { kind(Array(text.utf8)) }

  private func number(_ value: JSONValue?) -> String? {
    if case .number(let text)? = value?.content { return text }
    return nil
  }

  @Test(arguments: [
    "0", "-0", "1.10", "1E5", "1e-5", "-0.0", "1e400", "-1e400", "123456789012345678901234567890",
    "18446744073709551616", "9223372036854775808", "-9223372036854775809", "1.0000000000000000000000000001",
    "0.1e+10", "1E400", "100000000000000000000000000000000000000000000000000000000000000000000000000000",
  ]) func aNumberKeepsItsText(_ text: String) throws {
    #expect(number(try value("{\"n\":\(text)}")["n"]) == text)
    #expect(number(try value("[\(text) , 7]").elements?.first) == text)
    #expect(number(try value("[\(text) , 7]").elements?.last) == "7")
  }

  @Test func numbersBeyondSixtyFourBitsLeaveTheirNeighboursAsTheyAre() throws {
    let text = #"{"a":[1.10,1e400],"b":"1e400","123456789012345678901234567890":123456789012345678901234567890,"c":-0}"#
    let parsed = try value(text)
    #expect(parsed["a"]?.elements?.compactMap { number($0) } == ["1.10", "1e400"])
    #expect(parsed["b"]?.string == "1e400")
    #expect(number(parsed["123456789012345678901234567890"]) == "123456789012345678901234567890")
    #expect(number(parsed["c"]) == "-0")
  }

  @Test(arguments: ["1e400x", "01e400", "1e400e", "1.e400", "-", "1e", "123456789012345678901234567890a", "1e400 1"])
  func whatOnlyLooksLikeALongNumberIsNoJSON(_ text: String) {
    #expect(kind("[\(text)]") == .notJSON)
  }

  @Test func aLoneSurrogateIsNoJSON() {
    #expect(kind(#"{"a":"\ud800"}"#) == .notJSON)
    #expect(kind(#"{"a":"\ud800x"}"#) == .notJSON)
    #expect(kind(#"{"a":"\udc00"}"#) == .notJSON)
    #expect(kind(#"{"a":"\ud83d\ude00"}"#) == nil)
  }

  @Test func aByteOrderMarkIsSkippedAndOffsetsCountIt() throws {
    let bytes: [UInt8] = [0xEF, 0xBB, 0xBF] + Array(#"{"a": [1]}"#.utf8)
    let parsed = try JSONDocument.value(of: bytes)
    #expect(parsed.offset == 3)
    #expect(parsed.end == bytes.count)
    let list = try #require(parsed["a"])
    #expect(Array(bytes[list.offset..<list.end]) == Array("[1]".utf8))
    #expect(parsed.members?.first?.nameOffset == 4)
  }

  @Test func anEscapedZeroIsPartOfAString() throws {
    #expect(try value(#"{"a":"x\u0000y"}"#)["a"]?.string == "x\u{0}y")
  }

  @Test func theDepthLimitIsExact() {
    func nested(_ depth: Int, _ inner: String = "1") -> [UInt8] {
      Array((String(repeating: "[", count: depth) + inner + String(repeating: "]", count: depth)).utf8)
    }
    #expect(kind(nested(128)) == nil)
    #expect(kind(nested(129)) == .tooDeep)
    #expect(kind(nested(5), depth: 5) == nil)
    #expect(kind(nested(6), depth: 5) == .tooDeep)
    let objects = String(repeating: #"{"a":"#, count: 129) + "1" + String(repeating: "}", count: 129)
    #expect(kind(objects) == .tooDeep)
    #expect(kind(nested(100_000)) == .tooDeep)
  }

  @Test(arguments: [
    ("", JSONError.Kind.empty), ("   \n", .empty), ("{", .notJSON), (#"{"a":"#, .notJSON), (#"{"a":"b"#, .notJSON),
    (#"{"a":1,}"#, .notJSON), ("[1,]", .notJSON), ("{} {}", .notJSON), ("tru", .notJSON), ("truee", .notJSON),
    ("{'a':1}", .notJSON), ("NaN", .notJSON), ("[1 2]", .notJSON), ("\u{0}", .notJSON), (#"{"a":"\x"}"#, .notJSON),
    ("\"a\nb\"", .notJSON),
  ]) func brokenTextIsRefusedWithItsKind(_ text: String, _ expected: JSONError.Kind) {
    #expect(kind(text) == expected)
  }

  @Test func aRawZeroByteIsRefusedWhereverItStands() {
    for text in ["{\"a\":\"x\u{0}y\"}", "{\u{0}\"a\":1}", "{\"a\":1}\u{0}", "\u{0}\u{0}\u{0}\u{0}\u{5}{\"a\":1}"] {
      #expect(kind(text) == .notJSON, "\(text.debugDescription)")
    }
  }

  @Test func bytesThatAreNoUTF8AreRefusedAsThat() {
    #expect(kind(Array("{\"a\":\"".utf8) + [0xFF] + Array("\"}".utf8)) == .notUTF8)
    #expect(kind(Array("{\"a\":\"".utf8) + [0xC3] + Array("\"}".utf8)) == .notUTF8)
    #expect(kind(Array("{\"a\":\"".utf8) + [0xED, 0xA0, 0x80] + Array("\"}".utf8)) == .notUTF8)
  }

  @Test func duplicateKeysAreAllThereAndTheLastOneIsFound() throws {
    let parsed = try value(#"{"a":1,"a":2}"#)
    #expect(parsed.members?.count == 2)
    #expect(parsed["a"]?.integer == 2)
  }

  @Test func containerBytesAreFromTheOpeningToTheClosingBrace() throws {
    for text in ["{\"a\": [1, {}]}", "{}", "[ 1e400 ]", "{ \"a\" :\n 1 }"] {
      for (before, behind) in [("", ""), (" \n\t", "  \r\n")] {
        let bytes = Array((before + text + behind).utf8)
        var document = try JSONDocument()
        try bytes.withUnsafeBytes { buffer in
          let base = try #require(buffer.baseAddress)
          try document.parse(base, buffer.count, padding: 0)
          #expect(String(decoding: document.containerBytes, as: UTF8.self) == text)
        }
      }
    }
  }

  @Test func nothingBehindAPageThatIsNotOursIsRead() throws {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let memory = try #require(mmap(nil, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    try #require(memory != MAP_FAILED)
    defer { munmap(memory, page * 2) }
    try #require(mprotect(memory + page, page, PROT_NONE) == 0)
    let text = Array(#"{"type":"a","n":[1.10,123456789012345678901234567890,true,"x\u00e9y"],"o":{"k":null}}"#.utf8)
    var document = try JSONDocument()
    for gap in 0..<80 {
      let start = memory + page - text.count - gap
      start.copyMemory(from: text, byteCount: text.count)
      // What lies behind a document is no part of it.
      memset(start + text.count, Int32(UInt8(ascii: "]")), gap)
      try document.parse(start, text.count, padding: 0)
      let value = document.makeValue()
      #expect(value["o"]?["k"]?.isNull == true)
      #expect(number(value["n"]?.elements?[1]) == "123456789012345678901234567890")
    }
  }

  @Test func aDocumentIsUsedAgainAfterAFailure() throws {
    var document = try JSONDocument()
    func parse(_ text: String) throws -> JSONValue {
      let bytes = Array(text.utf8)
      return try bytes.withUnsafeBytes { buffer in
        try document.parse(try #require(buffer.baseAddress), buffer.count, padding: 0)
        return document.makeValue()
      }
    }
    #expect(throws: JSONError.self) { _ = try parse("[1e400") }
    #expect(try parse(#"{"a":1}"#)["a"]?.integer == 1)
    #expect(throws: JSONError.self) { _ = try parse(String(repeating: "[", count: 200)) }
    let long = "[\"" + String(repeating: "x", count: 100_000) + "\"]"
    #expect(try parse(long).elements?.first?.string?.utf8.count == 100_000)
    #expect(try parse("[2]").elements?.first?.integer == 2)
  }
}
