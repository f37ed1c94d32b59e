import Testing

@testable import DatabusCore

@Suite struct JSONSyntaxTests {
  private func describe(_ text: String, depth: Int = 128) -> String? {
    let bytes = Array(text.utf8)
    return JSONSyntax.firstProblem(in: bytes, depth: depth).map {
      "\(SourcePlace(offset: $0.offset, in: bytes)): \($0.message)"
    }
  }

  @Test(arguments: [
    ("{\n  \"a\": 1,\n}", "3:1: a comma stands before this \"}\"; remove it"),
    ("[1,\n]", "2:1: a comma stands before this \"]\"; remove it"),
    ("{\"a\" 1}", "1:6: a \":\" is expected behind a member's name, and here is \"1\""),
    ("{a:1}", "1:2: a member's name in quotes is expected, and here is \"a\""),
    ("[1 2]", "1:4: a \",\" or \"]\" is expected, and here is \"2\""),
    ("{\n \"a\": [1", "2:9: the text ends, and the bracket opened at 2:7 is not closed"),
    ("{} x", "1:4: there is more behind the end of the JSON value"),
    ("[tru]", "1:2: a value is expected; only true, false and null are words"),
    ("[truee]", "1:2: a value is expected; only true, false and null are words"),
    ("[01]", "1:2: \"01\" is not a number"), ("[1.]", "1:2: \"1.\" is not a number"),
    ("[-]", "1:2: \"-\" is not a number"), ("[1x]", "1:2: \"1x\" is not a number"),
    ("[\"abc]", "1:2: this string is not closed"),
    ("[\"a\tb\"]", "1:4: a string contains the control character the byte 0x09; write it as an escape"),
    ("[\"\\q\"]", "1:4: \"q\" cannot stand behind a backslash"),
    ("[\"\\u12g4\"]", "1:7: four hexadecimal digits are expected behind \\u, and here is \"g\""),
    ("[\"\\ud800\"]", "1:3: a high surrogate stands alone"), ("[\"\\udc00\"]", "1:3: a low surrogate stands alone"),
    ("[\"\\ud800\\u0041\"]", "1:3: a high surrogate stands alone"),
    ("[", "1:2: a value is expected, and here is the end of the text"),
    ("[,1]", "1:2: a value is expected, and here is \",\""),
    ("\u{0}", "1:1: a value is expected, and here is the byte 0x00"),
    ("", "1:1: a value is expected, and here is the end of the text"),
  ]) func eachKindOfErrorHasItsPlaceAndItsSentence(_ text: String, _ expected: String) {
    #expect(describe(text) == expected)
  }

  @Test func theDepthLimitIsTold() {
    #expect(describe("[[[1]]]", depth: 2) == "1:3: nested more than 2 deep (limits.depth)")
    #expect(describe("[[1]]", depth: 2) == nil)
  }

  @Test func brokenUTF8InAStringIsTold() {
    let problem = JSONSyntax.firstProblem(in: Array("[\"".utf8) + [0xFF] + Array("\"]".utf8))
    #expect(problem == .init(offset: 1, message: "this string is not valid UTF-8"))
  }

  @Test func aByteOrderMarkIsNoColumn() {
    let bytes: [UInt8] = [0xEF, 0xBB, 0xBF] + Array("[x]".utf8)
    #expect(JSONSyntax.firstProblem(in: bytes).map { SourcePlace(offset: $0.offset, in: bytes).description } == "1:2")
  }

  /// simdjson decides and the scanner explains: where they differed, a refusal would have no reason, or valid input one.
  @Test func theScannerAndSimdjsonAcceptTheSameTexts() {
    var random = SeededGenerator(seed: 20_261_123)
    let seeds = [
      #"{"type":"user:signup","data":{"userId":123,"tags":["a","b\u00e9\n"],"x":-1.5e+10,"y":null,"z":[true,false]}}"#,
      #"[[],{},[{}],"\ud83d\ude00",0,-0,1e400,123456789012345678901234567890]"#,
      " { \"a\" : [ 1 , 2.50 , \"é€😀\" ] , \"b\" : { \"c\" : \"\\\\\\\"\" } } \n",
      "\"text\"", "true", "12", "{\"a\":{\"b\":{\"c\":[[[[]]]]}}}",
    ].map { Array($0.utf8) }
    let alphabet =
      Array("{}[]\",:\\/0123456789.-+eEtrufalsn \n\tdc8b".utf8) + [0x00, 0x1F, 0x7F, 0x80, 0xC3, 0xED, 0xFF]
    var accepted = 0
    for round in 0..<20_000 {
      var bytes = seeds[round % seeds.count]
      for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[place] = alphabet.randomElement(using: &random) ?? 0
        case 1: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: place)
        case 2: bytes.remove(at: place)
        case 3: bytes = Array(bytes[..<place])
        default:
          let other = Int.random(in: 0..<bytes.count, using: &random)
          bytes.insert(contentsOf: bytes[min(place, other)..<max(place, other)], at: place)
        }
      }
      let depth = round % 3 == 0 ? 4 : 128
      let isAccepted = (try? JSONDocument.value(of: bytes, depth: depth)) != nil
      let problem = JSONSyntax.firstProblem(in: bytes, depth: depth)
      accepted += isAccepted ? 1 : 0
      #expect(
        isAccepted == (problem == nil),
        "round \(round): \(String(decoding: bytes, as: UTF8.self).debugDescription): \(problem?.message ?? "valid")")
    }
    #expect(accepted > 1000 && accepted < 19_000)
  }
}
