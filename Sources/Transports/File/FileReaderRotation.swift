import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Files that left their path while nobody was looking: what was not read of them is looked for at the next start.
///
/// For every path the state names the lives that the engine has not given back. One that does not stand there any more is looked for
/// beside it, among the names that begin with its own (`events.jsonl.1`), and read to its end first. One that is not found
/// is told as a gap. A file that came and went between two runs was never seen, and is not looked for.
extension FileReader {
  /// Only events that are followed: a table is read whole, and a finite stream is what stands at its paths.
  var keepsLives: Bool { settings.follow && !isTable && settings.configuration.runID == nil }

  /// Begins the lives of a path that are not over, before the one that stands there now.
  func beginEarlierLives(_ index: Int, before current: FileIdentity) async throws {
    guard keepsLives else { return }
    let path = slots[index].path
    for life in try await settings.identities.lives(at: path) where life.incarnation != current.incarnation {
      let found = try await find(life, beside: path)
      let file = try found ?? OpenFile.forReading("/dev/null")
      let partition = PartitionID(stream: baseName(path), incarnation: life.incarnation, index: index)
      lastGeneration += 1
      let assignment = Assignment(partition: partition, generation: lastGeneration)
      let configuration = settings.configuration
      let tail = FileTail(
        file: file, isRegular: found != nil, assignment: assignment, identity: life,
        limit: configuration.maximumLineBytes, blockBytes: configuration.blockBytes, pool: pool)
      tail.isGone = found == nil
      tail.retiredSince = clock.now()
      tails.append(tail)
      exchange.tell { state in
        state.partitions[assignment.generation] = FileExchange.Partition(
          assignment: assignment, isSeekable: true, isStarted: false)
        state.entries.append(FileExchange.Entry(assignment: assignment, item: .assigned))
      }
    }
  }

  /// The file of an earlier life under another name in the same directory; nil where there is none.
  private func find(_ life: FileIdentity, beside path: String) async throws -> OpenFile? {
    guard let saved = try await settings.identities.lookup(device: life.device, inode: life.inode),
      saved.incarnation == life.incarnation
    else { return nil }
    let name = baseName(path)
    let directory = path.contains("/") ? String(path.dropLast(name.utf8.count)) : "./"
    for other in try names(in: directory) where other.hasPrefix(name) && other != name {
      guard let facts = FileFacts.at(directory + other), facts.isRegular, facts.device == life.device,
        facts.inode == life.inode
      else { continue }
      let file = try OpenFile.forReading(directory + other)
      let head = try file.bytes(at: 0, saved.headCount)
      if head.count == saved.headCount, FileIdentity.hash(head) == saved.headHash { return file }
    }
    return nil
  }

  private func names(in directory: String) throws -> [String] {
    guard let stream = opendir(directory) else { throw systemError("list", directory, errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(
        withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        })
    }
    return names
  }

  /// How much of it there was is not known; that it is gone is.
  func tellGone(_ tail: FileTail, from position: UInt64) {
    leave(tail, gap: (position, max(UInt64(tail.identity?.headCount ?? 0), position + 1)))
  }

  /// A life begins at this path.
  func note(_ identity: FileIdentity, at index: Int) async throws {
    guard keepsLives else { return }
    let path = slots[index].path
    let lives = try await settings.identities.lives(at: path)
    if lives.contains(where: { $0.incarnation == identity.incarnation }) { return }
    try await settings.identities.setLives(lives + [identity], at: path)
  }

  /// Forgets lives that are over. Not at once: a process that stops gives back what it has not finished as well, and ends then.
  func forgetGivenBack() async throws {
    let now = clock.now()
    while let (tail, moment) = givenBack.first, now - moment >= .seconds(1) {
      let path = slots[tail.assignment.partition.index].path
      let incarnation = tail.assignment.partition.incarnation
      let lives = try await settings.identities.lives(at: path)
      try await settings.identities.setLives(lives.filter { $0.incarnation != incarnation }, at: path)
      givenBack.removeFirst()
    }
  }
}
