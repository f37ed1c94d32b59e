import DatabusCore
import SQLiteClient
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// What all users of one log file in this process share: the one writer, with its queue, and the connection for questions.
final class LogFile: Sendable {
  let path: String
  let options: SQLiteLogOptions
  let clock: any EngineClock
  let queue: AppendQueue
  let writer: LogWriter
  let queries: LogQueries
  private let key: FileKey
  private let signals = Mutex<[ObjectIdentifier: WakeSignal]>([:])

  private struct FileKey: Hashable {
    var device: UInt
    var inode: UInt
  }
  private static let files = Mutex<[FileKey: (file: LogFile, users: Int)]>([:])

  private init(_ path: String, _ key: FileKey, _ options: SQLiteLogOptions, _ clock: any EngineClock) {
    self.path = path
    self.key = key
    self.options = options
    self.clock = clock
    queue = AppendQueue(options)
    writer = LogWriter(path: path, options: options, clock: clock, queue: queue)
    queries = LogQueries(path: path, options: options)
  }

  /// The file at `path`, made where it does not exist. Ended by `release`.
  ///
  /// The limits and the clock are those of the first user.
  static func open(_ path: String, _ options: SQLiteLogOptions, _ clock: any EngineClock) async throws -> LogFile {
    // Makes the file, so that it has an identity.
    _ = try translated { try SQLiteConnection(path: path, access: .create, busyTimeout: options.busyTimeout) }
    var status = stat()
    if stat(path, &status) != 0 {
      throw TransportError(.transport, "\(path) cannot be found (\(String(cString: strerror(errno)))).")
    }
    let key = FileKey(device: UInt(status.st_dev), inode: UInt(status.st_ino))
    let file = files.withLock { files in
      if let present = files[key] {
        files[key]?.users += 1
        return present.file
      }
      let file = LogFile(path, key, options, clock)
      files[key] = (file, 1)
      return file
    }
    do {
      try await file.writer.open()
      try await file.queries.open()
      return file
    } catch {
      await file.release()
      throw error
    }
  }

  func retain() {
    LogFile.files.withLock { files in
      if files[key]?.file === self { files[key]?.users += 1 }
    }
  }

  /// The last user's waits until everything accepted has been written, and closes the file.
  func release() async {
    let isLast = LogFile.files.withLock { files in
      guard let present = files[key], present.file === self else { return false }
      if present.users > 1 {
        files[key]?.users -= 1
        return false
      }
      files.removeValue(forKey: key)
      return true
    }
    if isLast {
      await writer.close()
      await queries.close()
    }
  }

  func callWriter() {
    Task(executorPreference: writer.worker) { [self] in await writer.drain(self) }
  }

  /// Returns once the records are on the disk.
  func append(_ records: [LogRecord], to topic: String, _ partition: Int?) async throws -> [RecordPlace] {
    try await withCheckedThrowingContinuation { continuation in
      do {
        if try queue.append(records, of: AppendCall(topic, partition, continuation)) { callWriter() }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  // MARK: Readers of this process

  func register(_ signal: WakeSignal) { signals.withLock { $0[ObjectIdentifier(signal)] = signal } }
  func unregister(_ signal: WakeSignal) { signals.withLock { _ = $0.removeValue(forKey: ObjectIdentifier(signal)) } }

  /// Of all sources that wait, one looks for appends of other processes and wakes the others: an idle process wakes up as often
  /// with ten sources as with one.
  private struct Watch {
    var hasWatcher = false
    /// Those who rely on the watcher.
    var others: [ObjectIdentifier: WakeSignal] = [:]
  }
  private let watch = Mutex(Watch())

  /// - Returns: whether the caller is the watcher from now on, until `endWatching`. Otherwise it will be woken.
  func beginWatching(_ signal: WakeSignal) -> Bool {
    watch.withLock { watch in
      if watch.hasWatcher {
        watch.others[ObjectIdentifier(signal)] = signal
        return false
      }
      watch.hasWatcher = true
      watch.others.removeValue(forKey: ObjectIdentifier(signal))
      return true
    }
  }

  /// The caller waits no more; another one becomes the watcher.
  func endWatching(_ signal: WakeSignal, _ wasWatcher: Bool) {
    let next: WakeSignal? = watch.withLock { watch in
      watch.others.removeValue(forKey: ObjectIdentifier(signal))
      guard wasWatcher else { return nil }
      watch.hasWatcher = false
      return watch.others.first?.value
    }
    next?.wake()
  }

  func wakeReaders() {
    let all = signals.withLock { [WakeSignal]($0.values) }
    for signal in all { signal.wake() }
  }
}

/// Gives errors of SQLite as the transport's.
func translated<R>(_ body: () throws -> R) throws -> R {
  do {
    return try body()
  } catch let error as SQLiteError {
    throw TransportError(.transport, error.message)
  }
}
