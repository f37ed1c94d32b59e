import HTTPServer
import Testing

struct HTTPMessageTests {
  @Test(
    "a path is what stands before the question mark, its escapes resolved",
    arguments: [
      ("/", "/", nil), ("/a%20b", "/a b", nil), ("/a?b=%20", "/a", "b=%20"), ("/?", "/", ""), ("/%C3%A9", "/é", nil),
      ("/%2Fx", "//x", nil), ("/%zz", nil, nil), ("/%4", nil, nil), ("/%ff", nil, nil), ("/a%3Fb", "/a?b", nil),
    ] as [(String, String?, String?)])
  func path(_ target: String, _ path: String?, _ query: String?) {
    let request = HTTPRequest(method: "GET", target: target)
    #expect(request.path == path)
    #expect(request.query == query)
  }

  @Test func headersAreFoundWhateverTheirCase() {
    let request = HTTPRequest(
      method: "GET", target: "/", headers: [HTTPHeader("ACCEPT", "a"), HTTPHeader("Accept", "b")])
    #expect(request.header("accept") == "a")
    #expect(request.header("accep") == nil)
  }

  @Test(
    "a query falls apart at its &, escapes resolved; what is no escape stands as it is",
    arguments: [
      ("/", []), ("/?", []), ("/?a", [("a", nil)]), ("/?a=", [("a", "")]),
      ("/?a=1&&b=2=3", [("a", "1"), ("b", "2=3")]), ("/?a=%20%C3%A9", [("a", " é")]), ("/?a=%zz", [("a", "%zz")]),
      ("/?a=%ff&b", [("a", "%ff"), ("b", nil)]),
      ("/?%61=x%26y", [("a", "x&y")]), ("/?=1", [("", "1")]), ("/?a=b?c", [("a", "b?c")]),
    ] as [(String, [(String, String?)])])
  func queryItems(_ target: String, _ items: [(String, String?)]) {
    let request = HTTPRequest(method: "GET", target: target)
    #expect(request.queryItems == items.map { HTTPQueryItem($0.0, $0.1) })
  }
}
