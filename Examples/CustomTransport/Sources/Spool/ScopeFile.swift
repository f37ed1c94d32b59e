import DatabusCore
import Foundation

/// The state of one scope as lines of text: a header, then a line `key value` in hex for each entry.
struct ScopeFile {
  var epoch: UInt64 = 0
  /// The number of the last checkpoint, and the epoch that wrote it.
  var checkpoint: UInt64 = 0
  var checkpointEpoch: UInt64 = 0
  var entries: [[UInt8]: [UInt8]] = [:]

  var isEmpty: Bool { checkpoint == 0 && entries.isEmpty }

  init() {}

  init(_ text: String, path: String) throws {
    let lines = text.split(separator: "\n")
    let header = lines.first?.split(separator: " ").compactMap { UInt64($0) } ?? []
    guard header.count == 3 else {
      throw StateError.unusable("\(path) is not a scope's state: remove it, or restore a copy.")
    }
    (epoch, checkpoint, checkpointEpoch) = (header[0], header[1], header[2])
    for line in lines.dropFirst() {
      let parts = line.split(separator: " ", omittingEmptySubsequences: false)
      guard parts.count == 2, let key = bytes(hex: parts[0]), let value = bytes(hex: parts[1]) else {
        throw StateError.unusable("\(path) has a damaged line: restore a copy.")
      }
      entries[key] = value
    }
  }

  var text: String {
    entries.reduce(into: "\(epoch) \(checkpoint) \(checkpointEpoch)\n") { text, entry in
      text += "\(hex(entry.key)) \(hex(entry.value))\n"
    }
  }

  /// Applies a batch, or throws why not. The contract is `StateSession.apply`'s.
  mutating func apply(_ batch: WriteBatch, checkpoint number: UInt64?, epoch writer: UInt64) throws {
    if epoch != writer { throw StateError.fenced }
    if let number {
      // The answer to this very checkpoint was lost.
      if number == checkpoint, checkpointEpoch == writer { return }
      if number != checkpoint + 1 {
        throw StateError.diverged("the last checkpoint is \(checkpoint), this one is numbered \(number)")
      }
    }
    for (key, value) in batch.expectations where entries[key] != value {
      throw StateError.diverged("a key holds something else than the write was based on")
    }
    for key in batch.deletes { entries[key] = nil }
    for (key, value) in batch.puts { entries[key] = value }
    if let number { (checkpoint, checkpointEpoch) = (number, writer) }
  }

  func page(_ prefix: [UInt8], after: [UInt8]?, limit: Int) -> StatePage {
    let keys = entries.keys
      .filter { key in key.starts(with: prefix) && (after.map { $0.lexicographicallyPrecedes(key) } ?? true) }
      .sorted { $0.lexicographicallyPrecedes($1) }
    let found = keys.prefix(limit).compactMap { key in entries[key].map { (key: key, value: $0) } }
    return StatePage(entries: found, last: keys.count > limit ? found.last?.key : nil)
  }
}

func hex(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef".utf8)
  return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

func bytes(hex text: Substring) -> [UInt8]? {
  let digits = text.utf8.map { $0 >= 97 ? $0 &- 87 : $0 &- 48 }
  guard digits.count % 2 == 0, digits.allSatisfy({ $0 < 16 }) else { return nil }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
