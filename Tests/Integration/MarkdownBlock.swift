import Foundation

/// A fenced block of a document.
struct MarkdownBlock: Sendable {
  var document: String
  /// The number of the line that opens it.
  var line: Int
  /// The first word behind the fence.
  var language: String
  /// The words behind it: `background`, `file=rules.jsonl`.
  var attributes: [String]
  /// The word `kafka` stands in front of them: it needs a Kafka and a Redis.
  var needsKafka = false
  var text: String

  var place: String { "\(document):\(line)" }

  func has(_ attribute: String) -> Bool { attributes.contains(attribute) }

  /// The value of `name=value`.
  func value(_ name: String) -> String? {
    attributes.first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
  }

  /// All fenced blocks of a document, in order. Blocks inside lists are found too.
  static func all(in text: String, document: String) -> [MarkdownBlock] {
    var blocks: [MarkdownBlock] = []
    var open: (block: MarkdownBlock, indent: Int)?
    for (index, line) in text.components(separatedBy: "\n").enumerated() {
      let indent = line.prefix { $0 == " " }.count
      let content = line.dropFirst(indent)
      if let current = open {
        if content == "```" {
          blocks.append(current.block)
          open = nil
        } else {
          open?.block.text += line.dropFirst(min(indent, current.indent)) + "\n"
        }
      } else if content.hasPrefix("```") {
        let words = content.dropFirst(3).split(separator: " ").map(String.init)
        let needsKafka = words.dropFirst().first == "kafka"
        open = (
          MarkdownBlock(
            document: document, line: index + 1, language: words.first ?? "",
            attributes: Array(words.dropFirst(needsKafka ? 2 : 1)), needsKafka: needsKafka, text: ""), indent
        )
      }
    }
    // One that is never closed is a block all the same: it will be complained about.
    if let open { blocks.append(open.block) }
    return blocks
  }
}
