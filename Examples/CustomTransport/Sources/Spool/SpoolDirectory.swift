import DatabusCore
import Foundation

/// A stream as a directory: one file per record, named by its number from 1 on, and a file `life` that names this life of
/// the stream. Whoever removes old records leaves the newest one: numbers go on behind it.
struct SpoolDirectory: Sendable {
  let path: String
  let stream: String

  /// Opens the directory, made where it does not exist.
  init(root: String, stream: String) throws {
    if stream.isEmpty || stream.hasPrefix(".") || stream.contains("/") {
      throw TransportError(
        .transport, "\"\(stream)\" cannot be the name of a directory in \(root): choose another stream.")
    }
    path = "\(root)/\(stream)"
    self.stream = stream
    try translated("open the spool \(path)") {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      // Two processes may come at the same time: the first to link its name wins.
      if !FileManager.default.fileExists(atPath: "\(path)/life") {
        try claim("life", Data(Incarnation.mint().utf8))
      }
    }
  }

  /// What every record of this life has in its identity. A directory made anew has another one.
  func partition() throws -> PartitionID {
    let life = try translated("read \(path)/life") { try String(contentsOfFile: "\(path)/life", encoding: .utf8) }
    return PartitionID(stream: stream, incarnation: life, index: 0)
  }

  /// The numbers of the records that are there, in order.
  func numbers() throws -> [UInt64] {
    try translated("list \(path)") {
      try FileManager.default.contentsOfDirectory(atPath: path).compactMap { UInt64($0) }.sorted()
    }
  }

  func bounds() throws -> PartitionBounds {
    let numbers = try numbers()
    let first = numbers.first ?? 1
    return PartitionBounds(
      first: Position(next: first), end: Position(next: (numbers.last ?? 0) + 1), isTruncated: first > 1)
  }

  func read(_ number: UInt64) throws -> [UInt8] {
    try translated("read the record \(path)/\(name(number))") {
      [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name(number))")))
    }
  }

  /// Appends records behind the last one, whoever else appends meanwhile.
  func append(_ values: [[UInt8]]) throws {
    try translated("write to \(path)") {
      var next = (try numbers().last ?? 0) + 1
      for value in values {
        while try !claim(name(next), Data(value)) { next += 1 }
        next += 1
      }
    }
  }

  /// A file appears whole or not at all: it is written under a name that no reader looks at, and then linked to its own.
  ///
  /// - Returns: false where the name is taken.
  @discardableResult
  private func claim(_ name: String, _ content: Data) throws -> Bool {
    let hidden = "\(path)/.\(Incarnation.mint())"
    try content.write(to: URL(fileURLWithPath: hidden))
    defer { try? FileManager.default.removeItem(atPath: hidden) }
    do {
      try FileManager.default.linkItem(atPath: hidden, toPath: "\(path)/\(name)")
      return true
    } catch CocoaError.fileWriteFileExists {
      return false
    }
  }

  /// Twenty digits: `ls` shows records in their order.
  private func name(_ number: UInt64) -> String {
    let digits = String(number)
    return String(repeating: "0", count: 20 - digits.count) + digits
  }
}

/// Says what failed, where, and in the class that makes the engine try again.
func translated<R>(_ what: String, _ body: () throws -> R) throws -> R {
  do { return try body() } catch let error as TransportError { throw error } catch {
    throw TransportError(.transport, "Cannot \(what): \(error.localizedDescription) Check permissions and free space.")
  }
}
