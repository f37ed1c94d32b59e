#if canImport(Glibc)
  import Glibc
#endif

/// A program that is run to its end and measured as a whole.
struct ChildProcess {
  struct Failure: Error, CustomStringConvertible { var description: String }

  /// What a run took.
  struct Usage {
    var wallSeconds: Double
    /// User and system time.
    var processorSeconds: Double
    var peakBytes: Int
  }

  private static func ownPath() throws -> String {
    var path = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count)
    guard count > 0 else { throw Failure(description: "this program cannot find itself") }
    return String(decoding: path.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Where the `databus` binary is: beside this program.
  static func databus() throws -> String { try beside("databus") }

  /// Where a program of this package is: beside this one.
  static func beside(_ name: String) throws -> String {
    let directory = try ownPath().split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
      separator: "/")
    let binary = directory + "/" + name
    guard access(binary, X_OK) == 0 else {
      throw Failure(
        description: "\(binary) is missing: bin/bench builds it, as `swift build -c release --product \(name)` does")
    }
    return binary
  }

  /// Where a program is, by `PATH`; nil where it is not installed.
  static func find(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  /// Starts a program with these files as its standard input, output and error.
  static func start(
    _ arguments: [String], input: String = "/dev/null", output: String = "/dev/null", error: String = "/dev/null"
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, error, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    let pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var process = pid_t()
    let code = posix_spawn(&process, arguments[0], &actions, nil, pointers, environ)
    guard code == 0 else {
      throw Failure(description: "\(arguments[0]) cannot be started: \(String(cString: strerror(code)))")
    }
    return process
  }

  /// Waits for a program's end.
  static func wait(_ process: pid_t) throws -> (status: Int32, processorSeconds: Double, peakBytes: Int) {
    var status: Int32 = 0
    var usage = rusage()
    guard wait4(process, &status, 0, &usage) == process else {
      throw Failure(description: "a program cannot be waited for")
    }
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return (status, seconds(usage.ru_utime) + seconds(usage.ru_stime), Int(usage.ru_maxrss) * 1024)
  }

  /// Runs a program to its end; it must succeed.
  ///
  /// A new process begins with the peak memory of the one that started it. So another run of this program, which is small, starts it.
  static func run(_ arguments: [String], input: String = "/dev/null", output: String = "/dev/null") throws -> Usage {
    let folder = try ScratchFolder()
    defer { folder.remove() }
    let result = "\(folder.path)/usage"
    let measuring = [try ownPath(), measureOption, result] + arguments
    let (status, _, _) = try wait(start(measuring, input: input, output: output))
    guard status == 0, let stream = fopen(result, "r") else {
      throw Failure(description: "\(arguments.joined(separator: " ")) has failed (status \(status))")
    }
    defer { fclose(stream) }
    var bytes = [CChar](repeating: 0, count: 256)
    let count = fread(&bytes, 1, 255, stream)
    let text = String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let numbers = text.split(separator: " ").compactMap { Double($0) }
    guard numbers.count == 3 else { throw Failure(description: "a measurement cannot be read") }
    return Usage(wallSeconds: numbers[0], processorSeconds: numbers[1], peakBytes: Int(numbers[2]))
  }

  static let measureOption = "--measure"

  /// What this program does for `run`: starts the program with its own standard files and writes down what it took.
  static func measure(_ arguments: [String]) throws -> Int32 {
    guard arguments.count >= 2 else { return 2 }
    var before = timespec()
    clock_gettime(CLOCK_MONOTONIC, &before)
    let pointers: [UnsafeMutablePointer<CChar>?] = arguments.dropFirst().map { strdup($0) } + [nil]
    var process = pid_t()
    let code = posix_spawn(&process, arguments[1], nil, nil, pointers, environ)
    guard code == 0 else { return 127 }
    let (status, processor, peak) = try wait(process)
    var after = timespec()
    clock_gettime(CLOCK_MONOTONIC, &after)
    let wall = Double(after.tv_sec - before.tv_sec) + Double(after.tv_nsec - before.tv_nsec) / 1e9
    guard let stream = fopen(arguments[0], "w") else { return 1 }
    fputs("\(wall) \(processor) \(peak)", stream)
    fclose(stream)
    return status == 0 ? 0 : 1
  }
}

/// A folder in memory (tmpfs) for the length of a benchmark.
struct ScratchFolder {
  let path: String

  init() throws {
    let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
    var template = Array("\(parent)/databus-bench-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ChildProcess.Failure(description: "\(parent) cannot be written") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func write(_ name: String, _ text: String) throws -> String {
    let file = "\(path)/\(name)"
    guard let stream = fopen(file, "w") else { throw ChildProcess.Failure(description: "\(file) cannot be written") }
    defer { fclose(stream) }
    var text = text
    let written = text.withUTF8 { fwrite($0.baseAddress, 1, $0.count, stream) }
    guard written == text.utf8.count else { throw ChildProcess.Failure(description: "\(file) cannot be written") }
    return file
  }

  func remove() { ScratchFolder.remove(path) }

  /// Removes a folder and the files in it.
  static func remove(_ path: String) {
    guard let list = opendir(path) else { return }
    while let entry = readdir(list) {
      let name = withUnsafePointer(to: entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { unlink("\(path)/\(name)") }
    }
    closedir(list)
    rmdir(path)
  }
}
