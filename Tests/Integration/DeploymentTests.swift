import Foundation
import Testing

/// The image, compose.yaml and the unit, as far as they can be tried without a container engine.
struct DeploymentTests {
  @Test func imageAndUnitFitTheProgram() throws {
    let workspace = try Workspace()
    let check = Repository.root.appendingPathComponent("bin/support/check-image").path
    let result = try workspace.run("'\(check)' '\(Repository.program.path)'")
    #expect(result.status == 0, "\(result.output)")
  }

  @Test func theCheckFindsAPackageThatIsMissing() throws {
    let workspace = try Workspace()
    let check = Repository.root.appendingPathComponent("bin/support/check-image").path
    let result = try workspace.run(
      """
      sed 's/ librdkafka1//' '\(Repository.root.path)/Dockerfile' >Dockerfile
      '\(check)' --dockerfile "$PWD/Dockerfile" '\(Repository.program.path)'
      """)
    #expect(result.status == 1)
    #expect(result.output.contains("only needed: librdkafka1"), "\(result.output)")
  }

  @Test func theImagesHealthCheckTellsWhetherThisProcessIsReady() async throws {
    let text = try Repository.text("Dockerfile")
    let command = try #require(text.firstMatch(of: /HEALTHCHECK [^\n]*\\\n *CMD ([^\n]+)/).map { String($0.1) })
    let workspace = try Workspace()
    let script = "sh -c \(quoted(command))"
    #expect(try workspace.run("cp Configs/quickstart.json databus.json").status == 0)
    #expect(try workspace.run(script).status != 0)
    try workspace.start("databus run", place: "Dockerfile")
    let deadline = ContinuousClock.now + .seconds(30)
    while try workspace.run(script).status != 0 {
      try #require(ContinuousClock.now < deadline, "never healthy: \(command)")
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(try workspace.interruptAll() == [])
    #expect(try workspace.run(script).status != 0)
  }

  private func quoted(_ text: String) -> String { "'" + text.replacingOccurrences(of: "'", with: #"'\''"#) + "'" }
}
