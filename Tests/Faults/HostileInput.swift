/// Records that are wrong in every way that is known, and records that look wrong and are right.
struct HostileInput {
  private var random: SeededGenerator

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  /// What the configuration of these tests permits.
  static let maximumBytes = 16_384
  static let maximumDepth = 40

  enum Kind: CaseIterable {
    case truncated, tooDeep, tooLarge, rawZero, badUTF8, repeatedType, notObject, noType, typeNotString, empty,
      wireFormat,
      noise, trailing, loneSurrogate, onlySpace, repeatedVersion
  }

  /// A hostile event, with the reasons that its dead letter may give.
  mutating func event(_ kind: Kind, _ number: Int) -> (bytes: [UInt8], reasons: Set<String>) {
    let good = Array("{\"type\":\"user:signup\",\"data\":{\"number\":\(number),\"text\":\"some text\"}}".utf8)
    func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    switch kind {
    case .truncated:
      return (Array(good.prefix(Int.random(in: 1..<good.count, using: &random))), ["not_json"])
    case .tooDeep:
      let depth = Int.random(in: HostileInput.maximumDepth + 1...5000, using: &random)
      let open = Array(repeating: UInt8(ascii: "["), count: depth)
      let close = Array(repeating: UInt8(ascii: "]"), count: depth)
      return (text("{\"type\":\"user:signup\",\"n\":\(number),\"a\":") + open + close + text("}"), ["too_deep"])
    case .tooLarge:
      let filler = String(repeating: "x", count: HostileInput.maximumBytes + Int.random(in: 0...2000, using: &random))
      return (text("{\"type\":\"user:signup\",\"n\":\(number),\"a\":\"\(filler)\"}"), ["too_large"])
    case .rawZero:
      // Everywhere but in front: inside a string, between members, behind the end.
      var bytes = good
      bytes.insert(0, at: Int.random(in: 1...good.count, using: &random))
      return (bytes, ["not_json"])
    case .badUTF8:
      let wrong: [[UInt8]] = [
        [0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0x80],
      ]
      let bytes = wrong[Int.random(in: 0..<wrong.count, using: &random)]
      return (text("{\"type\":\"user:signup\",\"n\":\(number),\"a\":\"") + bytes + text("\"}"), ["not_utf8"])
    case .repeatedType:
      return (text("{\"type\":\"nobody\",\"n\":\(number),\"type\":\"user:signup\"}"), ["member_repeated"])
    case .repeatedVersion:
      return (
        text(
          "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"user:signup\",\"n\":\(number),\"id\":\"2\"}"
        ),
        ["member_repeated"]
      )
    case .notObject:
      let forms = ["[\(number)]", "\(number)", "\"user:signup\"", "null", "true", "[]"]
      return (text(forms[Int.random(in: 0..<forms.count, using: &random)]), ["not_object"])
    case .noType:
      let forms = ["{}", "{\"Type\":\"user:signup\"}", "{\"data\":{\"type\":\"user:signup\"}}"]
      return (text(forms[Int.random(in: 0..<forms.count, using: &random)]), ["type_missing"])
    case .typeNotString:
      let forms = ["1", "null", "true", "[\"user:signup\"]", "{\"a\":1}", "1e400"]
      return (
        text("{\"type\":\(forms[Int.random(in: 0..<forms.count, using: &random)]),\"n\":\(number)}"),
        ["type_not_string"]
      )
    case .empty: return ([], ["empty_value"])
    case .wireFormat: return ([0, 0, 0, 0, 7] + good, ["not_json"])
    case .noise:
      return (
        (0..<Int.random(in: 4...300, using: &random)).map { _ in UInt8.random(in: 0x80...0xFF, using: &random) },
        ["not_json", "not_utf8"]
      )
    case .trailing:
      return (good + text(["}", ",", " {}", "x", "]"][Int.random(in: 0..<5, using: &random)]), ["not_json"])
    case .loneSurrogate:
      return (text("{\"type\":\"user:signup\",\"n\":\(number),\"a\":\"\\ud800\"}"), ["not_json", "not_utf8"])
    case .onlySpace:
      return (
        Array(repeating: [0x20, 0x0A, 0x09][Int.random(in: 0..<3, using: &random)], count: 5),
        ["not_json", "empty_value"]
      )
    }
  }

  /// An event that looks wrong, and is valid JSON that a rule wants.
  mutating func oddity(_ number: Int) -> ModelEvent {
    let type = "user:signup"
    let plain = "{\"type\":\"\(type)\",\"n\":\(number)"
    let forms = [
      plain + ",\"wei\":123456789012345678901234567890}",
      plain + ",\"huge\":1e400,\"tiny\":1e-400,\"minus\":-0.0}",
      plain + ",\"zero\":\"a\\u0000b\"}",
      plain + ",\"twice\":1,\"twice\":2,\"twice\":\"three\"}",
      "{\n  \"type\": \"\(type)\",\r\n\t\"n\": \(number)\n}",
      plain + ",\"emoji\":\"\\ud83d\\ude00 😀\"}",
      plain + ",\"deep\":" + String(repeating: "[", count: HostileInput.maximumDepth - 2)
        + String(repeating: "]", count: HostileInput.maximumDepth - 2) + "}",
      plain + ",\"\":{\"\":[]},\"type \":1,\"Type\":2}",
      "{\"t\\u0079pe\":\"\(type)\",\"n\":\(number)}",
      "{\"type\":\"user\\u003asignup\",\"n\":\(number)}",
    ]
    let text = forms[Int.random(in: 0..<forms.count, using: &random)]
    let payload = Array(text.utf8)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return ModelEvent(type: type, bytes: [0xEF, 0xBB, 0xBF] + payload, payload: payload)
    case 1: return ModelEvent(type: type, bytes: Array(" \n\t".utf8) + payload + Array(" \r\n".utf8), payload: payload)
    default: return ModelEvent(type: type, bytes: payload)
    }
  }

  /// A record that is no rule. It must change nothing, whatever rule it names.
  mutating func rule(_ number: Int) -> [UInt8] {
    let url = "\"destinationUrl\":\"https://evil.example/\""
    let events = "\"events\":[\"*\"]"
    let forms = [
      "", " ", "{", "null", "[]", "\"rule_a\"", "{}",
      "{\"ruleId\":\"rule_a\",\(events)}",
      "{\"ruleId\":\"rule_a\",\(url)}",
      "{\(events),\(url)}",
      "{\"ruleId\":7,\(events),\(url)}",
      "{\"ruleId\":\"\",\(events),\(url)}",
      "{\"ruleId\":\"evil\\u0000\(number)\",\(events),\(url)}",
      "{\"ruleId\":\"\(String(repeating: "x", count: 300))\",\(events),\(url)}",
      "{\"ruleId\":\"rule_a\",\"events\":\"*\",\(url)}",
      "{\"ruleId\":\"rule_a\",\"events\":[1],\(url)}",
      "{\"ruleId\":\"rule_a\",\"events\":[\"a*b\"],\(url)}",
      "{\"ruleId\":\"rule_a\",\(events),\"destinationUrl\":\"evil.example\"}",
      "{\"ruleId\":\"rule_a\",\(events),\"destinationUrl\":\"ftp://evil.example/\"}",
      "{\"ruleId\":\"rule_a\",\(events),\"destinationUrl\":\"https://user:secret@evil.example/\"}",
      "{\"ruleId\":\"rule_a\",\(events),\"destinationUrl\":\"https://\"}",
      "{\"ruleId\":\"rule_a\",\(events),\"destinationUrl\":\"https://evil.example/a b\"}",
      "{\"ruleId\":\"rule_a\",\(events),\(url),\"filters\":[{\"a\":1}]}",
      "{\"ruleId\":\"rule_a\",\(events),\(url),\"enabled\":\"no\"}",
      "{\"ruleId\":\"rule_a\",\(events),\(url),\"ruleId\":\"evil\"}",
      "{\"ruleid\":\"rule_a\",\(events),\(url)}",
      "{\"ruleId\":\"rule_a\",\(events),\(url),\"transform\":[1]}",
      "{\"ruleId\":\"evil\(number)\",\(events),\(url)",
      "{\"ruleId\":\"evil\(number)\",\(events),\(url)}}",
    ]
    var bytes = Array(forms[Int.random(in: 0..<forms.count, using: &random)].utf8)
    if Int.random(in: 0..<20, using: &random) == 0 {
      bytes = Array("{\"ruleId\":\"evil\(number)\",".utf8) + [0xFF] + Array("\(events),\(url)}".utf8)
    }
    return bytes
  }

  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
}
