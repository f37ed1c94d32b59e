import Testing

/// `bin/quickstart` as a newcomer sees it. It fails by itself where one of its numbers is wrong.
struct QuickstartTests {
  @Test func endsWithDeliveriesThatArriveOnce() throws {
    let workspace = try Workspace()
    let result = try workspace.run("bin/quickstart --events 1000")
    #expect(result.status == 0, "\(result.output)")
    let text = result.output
    #expect(text.contains("11 results; the rules call for 11"))
    #expect(text.contains("requests at the receiver 3, 3 of them a delivery's first with a good signature"), "\(text)")
  }
}
