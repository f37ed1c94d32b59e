/// What a process says of itself into the pipeline's state every second: for `status`, `rules put --wait` and people.
public struct Presence: Sendable, Hashable {
  public struct Partition: Sendable, Hashable {
    public var partition: PartitionID
    /// Checkpointed: everything before it has ended.
    public var position: UInt64
    public var open: Int
    /// Why it is parked; nil where it is not.
    public var parked: String?
  }

  public var processID: Int
  public var host: String
  /// Milliseconds since 1970.
  public var startedAt: Int64
  public var at: Int64
  public var isReady: Bool
  /// Why it is not ready: everything that keeps it from it.
  public var reasons: [Health.Reason]
  public var tableVersion: UInt64
  public var ruleCount: Int
  public var refusedCount: Int
  public var rules: RulesVector
  public var partitions: [Partition]
  public var counts: PipelineCounts

  /// The first reason, as a sentence; nil where it is ready.
  public var reason: String? { reasons.first.map { "\($0.part): \($0.message)" } }

  static let prefix = Array("presence/".utf8)
  var key: [UInt8] { Presence.prefix + Array("\(host)/\(processID)".utf8) }

  /// Whether the record is fresh enough for its process to be alive (5 s).
  public func isAlive(at now: Int64) -> Bool { now - at < 5000 }

  /// All presence records of a pipeline.
  ///
  /// - Throws: `StateError`.
  public static func all(_ session: any StateSession) async throws -> [Presence] {
    try await session.scanAll(prefix: prefix).compactMap { Presence(encoded: $0.value) }
  }

  /// One JSON object.
  func encoded() -> [UInt8] {
    var json = ByteBuffer(capacity: 1024)
    func member(_ name: String, _ number: some BinaryInteger) {
      json.append(",\"\(name)\":\(number)")
    }
    func member(_ name: String, _ text: String) {
      json.append(",\"\(name)\":")
      JSONText.append(text, to: &json)
    }
    json.append("{\"version\":1")
    member("pid", processID)
    member("host", host)
    member("startedAt", startedAt)
    member("at", at)
    json.append(",\"ready\":\(isReady)")
    json.append(",\"reasons\":[")
    for (index, reason) in reasons.enumerated() {
      json.append(index == 0 ? "{\"part\":" : ",{\"part\":")
      JSONText.append(reason.part, to: &json)
      member("message", reason.message)
      json.append("}")
    }
    json.append("]")
    member("table", tableVersion)
    member("ruleCount", ruleCount)
    member("refusedCount", refusedCount)
    member("rules", rules.description)
    json.append(",\"partitions\":[")
    for (index, partition) in partitions.enumerated() {
      json.append(index == 0 ? "{\"stream\":" : ",{\"stream\":")
      JSONText.append(partition.partition.stream, to: &json)
      member("incarnation", partition.partition.incarnation)
      member("index", partition.partition.index)
      member("position", partition.position)
      member("open", partition.open)
      if let parked = partition.parked { member("parked", parked) }
      json.append("}")
    }
    json.append("]")
    for (name, value) in counts.all { member(name, value) }
    json.append("}")
    return Array(json.bytes)
  }

  /// Reads what `encoded` wrote; nil for anything else.
  init?(encoded bytes: [UInt8]) {
    guard let value = try? JSONDocument.value(of: bytes) else { return nil }
    func integer(_ name: String) -> Int? { value[name]?.integer }
    guard let pid = integer("pid"), let host = value["host"]?.string, let startedAt = integer("startedAt"),
      let at = integer("at"), let ready = value["ready"]?.bool, let table = integer("table"),
      let rules = value["rules"]?.string.flatMap({ RulesVector($0) }), let list = value["partitions"]?.elements
    else { return nil }
    processID = pid
    self.host = host
    self.startedAt = Int64(startedAt)
    self.at = Int64(at)
    isReady = ready
    reasons = (value["reasons"]?.elements ?? []).compactMap { item in
      guard let part = item["part"]?.string, let message = item["message"]?.string else { return nil }
      return Health.Reason(part: part, message: message)
    }
    tableVersion = UInt64(max(0, table))
    ruleCount = integer("ruleCount") ?? 0
    refusedCount = integer("refusedCount") ?? 0
    self.rules = rules
    partitions = list.compactMap { item in
      guard let stream = item["stream"]?.string, let incarnation = item["incarnation"]?.string,
        let index = item["index"]?.integer, let position = item["position"]?.integer
      else { return nil }
      return Partition(
        partition: PartitionID(stream: stream, incarnation: incarnation, index: index),
        position: UInt64(max(0, position)),
        open: item["open"]?.integer ?? 0, parked: item["parked"]?.string)
    }
    counts = PipelineCounts()
    for (name, path) in PipelineCounts.members { counts[keyPath: path] = integer(name) ?? 0 }
  }

  init(
    processID: Int, host: String, startedAt: Int64, at: Int64, isReady: Bool, reasons: [Health.Reason],
    tableVersion: UInt64,
    ruleCount: Int, refusedCount: Int, rules: RulesVector, partitions: [Partition], counts: PipelineCounts
  ) {
    self.processID = processID
    self.host = host
    self.startedAt = startedAt
    self.at = at
    self.isReady = isReady
    self.reasons = reasons
    self.tableVersion = tableVersion
    self.ruleCount = ruleCount
    self.refusedCount = refusedCount
    self.rules = rules
    self.partitions = partitions
    self.counts = counts
  }
}

/// What a pipeline has done since its start.
public struct PipelineCounts: Sendable, Hashable {
  /// Records read from the events stream.
  public var events = 0
  /// No rule matched.
  public var filtered = 0
  /// A rule's own test said no, and no other made a delivery.
  public var declined = 0
  /// Results sent.
  public var results = 0
  public var deadLetters = 0
  /// Records that the transport no longer had.
  public var gaps = 0
  /// Checkpoints that another process's epoch refused.
  public var fenced = 0
  /// Checkpoints written.
  public var checkpoints = 0
  /// Checkpoints that could not be written, and were tried again.
  public var failedCheckpoints = 0

  public init() {}

  static var members: [(name: String, path: WritableKeyPath<PipelineCounts, Int>)] {
    [
      ("events", \.events), ("filtered", \.filtered), ("declined", \.declined), ("results", \.results),
      ("deadLetters", \.deadLetters), ("gaps", \.gaps), ("fenced", \.fenced),
      ("checkpoints", \.checkpoints), ("failedCheckpoints", \.failedCheckpoints),
    ]
  }

  /// Names and values, for people and scripts.
  public var all: [(name: String, value: Int)] { PipelineCounts.members.map { ($0.name, self[keyPath: $0.path]) } }
}
