/// A pipeline's whole state as JSON lines, for moving it from one backend to another.
///
/// A head; then for each scope a line that names it, and a line for each of its entries; then an end with the numbers of both,
/// without which the file is not whole.
public struct StateFile: Sendable {
  /// The pipeline's scope, or one partition's.
  public struct Scope: Sendable {
    public var scope: StateScope
    /// As it was where it comes from: a backend gives its own.
    public var epoch: UInt64
    /// The last checkpoint's number where it comes from.
    public var checkpoint: UInt64
    public var entries: [(key: [UInt8], value: [UInt8])]

    public init(scope: StateScope, epoch: UInt64, checkpoint: UInt64, entries: [(key: [UInt8], value: [UInt8])]) {
      self.scope = scope
      self.epoch = epoch
      self.checkpoint = checkpoint
      self.entries = entries
    }
  }

  /// What is wrong with a file, and in which line.
  public struct Problem: Error, Sendable, Hashable {
    /// From 1; nil where it is about the file as a whole.
    public var line: Int?
    public var message: String

    init(line: Int? = nil, message: String) {
      self.line = line
      self.message = message
    }
  }

  public static let version = 1

  public var pipeline: String
  /// The backend's name in the configuration it comes from.
  public var stateType: String
  /// The id of the store it comes from: commits may name it.
  public var stateID: String
  /// Milliseconds since 1970.
  public var exportedAt: Int64
  public var scopes: [Scope]

  public init(pipeline: String, stateType: String, stateID: String, exportedAt: Int64, scopes: [Scope]) {
    self.pipeline = pipeline
    self.stateType = stateType
    self.stateID = stateID
    self.exportedAt = exportedAt
    self.scopes = scopes
  }

  public var entryCount: Int { scopes.reduce(0) { $0 + $1.entries.count } }

  public var partitions: [PartitionID] {
    scopes.compactMap { scope in
      guard case .partition(let partition) = scope.scope else { return nil }
      return partition
    }
  }

  // MARK: Writing

  /// Gives the file's lines, each with its newline, one after another.
  public func write(_ emit: (String) throws -> Void) rethrows {
    try emit(
      line([
        ("databus", JSONValue(.string("state"))), ("version", number(StateFile.version)),
        ("pipeline", JSONValue(.string(pipeline))), ("stateType", JSONValue(.string(stateType))),
        ("stateID", JSONValue(.string(stateID))), ("exportedAt", number(exportedAt)),
      ]))
    for scope in scopes {
      try emit(line(head(of: scope)))
      for (key, value) in scope.entries {
        try emit(
          line([
            ("key", JSONValue(.string(Base64.encode(key)))), ("value", JSONValue(.string(Base64.encode(value)))),
          ]))
      }
    }
    try emit(
      line([("end", JSONValue(.bool(true))), ("scopes", number(scopes.count)), ("entries", number(entryCount))]))
  }

  private func head(of scope: Scope) -> [(String, JSONValue)] {
    var members: [(String, JSONValue)]
    switch scope.scope {
    case .pipeline: members = [("scope", JSONValue(.string("pipeline")))]
    case .partition(let partition):
      members = [
        ("scope", JSONValue(.string("partition"))), ("stream", JSONValue(.string(partition.stream))),
        ("incarnation", JSONValue(.string(partition.incarnation))), ("partition", number(partition.index)),
      ]
    }
    members += [("epoch", number(scope.epoch)), ("checkpoint", number(scope.checkpoint))]
    return members
  }

  private func line(_ members: [(String, JSONValue)]) -> String { JSONValue(members: members).compactText + "\n" }
  private func number(_ value: some BinaryInteger) -> JSONValue { JSONValue(.number(String(value))) }
}

/// Reads a state file line by line. Nothing counts before its end was seen.
public struct StateFileReader: Sendable {
  private var file: StateFile?
  private var isWhole = false
  private var seen: Set<StateScope> = []

  public init() {}

  /// Takes the next line.
  public mutating func take(_ bytes: [UInt8], line: Int) throws(StateFile.Problem) {
    func problem(_ message: String) -> StateFile.Problem { StateFile.Problem(line: line, message: message) }
    if isWhole { throw problem("something stands behind the end of the state") }
    let value: JSONValue
    do throws(JSONError) { value = try JSONDocument.value(of: bytes) } catch {
      throw problem("not valid JSON: \(error.message)")
    }
    if file == nil {
      file = try StateFileReader.head(value, problem)
    } else if value["end"]?.bool == true {
      try finish(value, problem)
    } else if let kind = value["scope"]?.string {
      try begin(kind, value, problem)
    } else {
      try takeEntry(value, problem)
    }
  }

  /// The file, once its last line was taken.
  public func finish() throws(StateFile.Problem) -> StateFile {
    guard let file else { throw StateFile.Problem(message: "it is empty") }
    guard isWhole else {
      throw StateFile.Problem(
        message: "its last line, with the numbers of scopes and entries, is missing: the export did not finish")
    }
    return file
  }

  private typealias Complain = (String) -> StateFile.Problem

  private static func head(_ value: JSONValue, _ problem: Complain) throws(StateFile.Problem) -> StateFile {
    guard value["databus"]?.string == "state", let version = value["version"]?.integer else {
      throw problem("this is no state that 'databus state export' wrote")
    }
    guard version == StateFile.version else {
      throw problem("the state is of version \(version), and this release reads version \(StateFile.version)")
    }
    guard let pipeline = value["pipeline"]?.string, let type = value["stateType"]?.string,
      let id = value["stateID"]?.string, let time = value["exportedAt"]?.integer
    else { throw problem("the head is not whole") }
    return StateFile(pipeline: pipeline, stateType: type, stateID: id, exportedAt: Int64(time), scopes: [])
  }

  private mutating func begin(
    _ kind: String, _ value: JSONValue, _ problem: Complain
  ) throws(StateFile.Problem) {
    let scope: StateScope
    switch kind {
    case "pipeline": scope = .pipeline
    case "partition":
      guard let stream = value["stream"]?.string, let incarnation = value["incarnation"]?.string,
        let index = value["partition"]?.integer, index >= 0
      else { throw problem("a partition is not named") }
      scope = .partition(PartitionID(stream: stream, incarnation: incarnation, index: index))
    default: throw problem("there is no scope \"\(kind)\"")
    }
    guard case .number(let epoch)? = value["epoch"]?.content, let epoch = UInt64(epoch),
      case .number(let checkpoint)? = value["checkpoint"]?.content, let checkpoint = UInt64(checkpoint)
    else { throw problem("epoch or checkpoint is missing") }
    guard seen.insert(scope).inserted else { throw problem("a scope stands twice") }
    file?.scopes.append(StateFile.Scope(scope: scope, epoch: epoch, checkpoint: checkpoint, entries: []))
  }

  private mutating func takeEntry(_ value: JSONValue, _ problem: Complain) throws(StateFile.Problem) {
    guard let key = value["key"]?.string.flatMap(Base64.decode),
      let content = value["value"]?.string.flatMap(Base64.decode)
    else { throw problem("neither a scope, nor an entry with key and value in base64, nor the end") }
    guard let last = file?.scopes.indices.last else { throw problem("an entry before the first scope") }
    if let before = file?.scopes[last].entries.last?.key, !before.lexicographicallyPrecedes(key) {
      throw problem("the keys are not in their order")
    }
    file?.scopes[last].entries.append((key, content))
  }

  private mutating func finish(_ value: JSONValue, _ problem: Complain) throws(StateFile.Problem) {
    let (scopes, entries) = (file?.scopes.count ?? 0, file?.entryCount ?? 0)
    guard value["scopes"]?.integer == scopes, value["entries"]?.integer == entries else {
      throw problem(
        "it is not whole: \(value["scopes"]?.integer ?? 0) scopes with \(value["entries"]?.integer ?? 0) entries were "
          + "written, and \(scopes) with \(entries) are here")
    }
    isWhole = true
  }
}
