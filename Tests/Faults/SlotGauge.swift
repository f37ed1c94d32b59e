import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// What a process with crash points says of its open slots, in memory that outlives it: after SIGKILL it holds what was true then.
final class SlotGauge: @unchecked Sendable {
  // Sendable: the memory is written by the process under test; here it is read, and cleared between processes.
  let path: String
  private let words: UnsafeMutablePointer<UInt64>

  init(path: String) throws {
    self.path = path
    try Data(count: 4096).write(to: URL(fileURLWithPath: path))
    let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
    defer { Glibc.close(descriptor) }
    guard descriptor >= 0, let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      memory != MAP_FAILED
    else { throw HarnessError("\(path) cannot be mapped") }
    words = memory.bindMemory(to: UInt64.self, capacity: 512)
  }

  deinit { munmap(words, 4096) }

  /// Before a process starts.
  func clear() { words.update(repeating: 0, count: 2) }

  /// Slots that were neither closed nor passed.
  var open: Int { Int(words[0]) }
  /// The position behind the last event that was read; 0 where none was.
  var read: UInt64 { words[1] }
}
