/// Something that a subject does and the contract of its port forbids.
public struct Violation: Sendable, Hashable, CustomStringConvertible {
  /// The case that found it.
  public var name: String
  /// What happened, and what should have.
  public var what: String
  /// Where: a record's place, or the step of the case.
  public var place: String

  public init(name: String, what: String, place: String) {
    self.name = name
    self.what = what
    self.place = place
  }

  public var description: String {
    place.isEmpty ? "\(name): \(what)" : "\(name): \(what) [\(place)]"
  }
}

/// How a case ended for a subject.
public enum CaseOutcome: Sendable, Hashable {
  case passed
  /// The subject cannot do what the case is about; why.
  case skipped(String)
  case failed([Violation])

  public var violations: [Violation] {
    if case .failed(let violations) = self { return violations }
    return []
  }
}

/// One property of a port's contract, as a test of a subject.
public struct ConformanceCase<Subject: Sendable>: Sendable, CustomStringConvertible {
  /// What must hold, in a few words: the title of a test.
  public let name: String
  private let body: @Sendable (Subject, Trial) async throws -> Void

  init(_ name: String, _ body: @escaping @Sendable (Subject, Trial) async throws -> Void) {
    self.name = name
    self.body = body
  }

  public var description: String { name }

  /// Runs the case.
  ///
  /// - Parameter timeout: how long any one wait may take before it counts as a violation.
  public func run(_ subject: Subject, timeout: Duration = .seconds(10)) async -> CaseOutcome {
    let trial = Trial(name: name, timeout: timeout)
    do {
      try await body(subject, trial)
    } catch let skip as Skip {
      // What was found before the subject's limits were met still counts.
      if trial.violations.isEmpty { return .skipped(skip.reason) }
    } catch let overdue as Overdue {
      trial.report("nothing happened for \(timeout)", at: overdue.what)
    } catch {
      trial.report("unexpected error: \(error)")
    }
    return trial.violations.isEmpty ? .passed : .failed(trial.violations)
  }
}

/// What a suite found about a subject.
public struct SuiteReport: Sendable, CustomStringConvertible {
  public var subject: String
  /// In the order in which the cases ran.
  public var outcomes: [(name: String, outcome: CaseOutcome)]

  public var violations: [Violation] { outcomes.flatMap(\.outcome.violations) }
  /// The names of the cases that failed.
  public var failed: [String] { outcomes.filter { !$0.outcome.violations.isEmpty }.map(\.name) }
  /// The cases that the subject could not take, with the reasons.
  public var skipped: [(name: String, reason: String)] {
    outcomes.compactMap { name, outcome in
      if case .skipped(let reason) = outcome { return (name, reason) }
      return nil
    }
  }

  /// One line a case, for people.
  public var description: String {
    var lines = ["\(subject): \(outcomes.count) cases, \(failed.count) failed, \(skipped.count) skipped"]
    for (name, outcome) in outcomes {
      switch outcome {
      case .passed: lines.append("  passed   \(name)")
      case .skipped(let reason): lines.append("  skipped  \(name): \(reason)")
      case .failed(let violations):
        lines.append("  FAILED   \(name)")
        lines += violations.map { "             \($0.what)" + ($0.place.isEmpty ? "" : " [\($0.place)]") }
      }
    }
    return lines.joined(separator: "\n")
  }
}

extension ConformanceCase {
  static func runAll(
    _ cases: [ConformanceCase], _ subject: Subject, named name: String, timeout: Duration
  ) async -> SuiteReport {
    var report = SuiteReport(subject: name, outcomes: [])
    for one in cases {
      report.outcomes.append((one.name, await one.run(subject, timeout: timeout)))
    }
    return report
  }
}
