import Foundation
import Testing

@testable import DatabusCore

@Suite struct JSONTextTests {
  @Test func everyCharacterThatMustBeEscapedIs() {
    #expect(JSONText.quoted("a\"b\\c/d") == #""a\"b\\c/d""#)
    #expect(JSONText.quoted("\u{8}\t\n\u{C}\r\u{0}\u{1F}\u{7F}") == "\"\\b\\t\\n\\f\\r\\u0000\\u001f\u{7F}\"")
    #expect(JSONText.quoted("é€😀") == "\"é€😀\"")
    #expect(JSONText.quoted("") == "\"\"")
  }

  @Test func whatIsWrittenIsReadBackTheSame() throws {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<500 {
      var text = ""
      for _ in 0..<Int.random(in: 0...20, using: &random) {
        let number = UInt32.random(in: 0...0x2FF, using: &random)
        text.unicodeScalars.append(UnicodeScalar(number) ?? "x")
      }
      let parsed = try JSONDocument.value(of: Array("[\(JSONText.quoted(text))]".utf8))
      #expect(parsed.elements?.first?.string.map { Array($0.utf8) } == Array(text.utf8))
    }
  }

  @Test func base64IsThatOfRFC4648() {
    // RFC 4648, section 10.
    let vectors = [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
      ("foobar", "Zm9vYmFy"),
    ]
    for (text, encoded) in vectors { #expect(Base64.encode(Array(text.utf8)) == encoded) }
    var random = SeededGenerator(seed: 3)
    for count in 0..<100 {
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(Base64.encode(bytes) == Data(bytes).base64EncodedString())
    }
  }
}
