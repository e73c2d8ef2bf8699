"""What a compiled template does: escaping, links, text, errors, and what it must never do."""

import contextlib
import json
import quopri
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.content.errors import RenderError
from thurn.content.program import Kind, TemplateError, compile_mail, preview
from thurn.content.quoted import encode, encode_last

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"


class Addresses:
    open = "http://t.example/o/AbC"
    unsubscribe = "http://t.example/u/AbC?a=1&b"

    def click(self, number: int) -> str:
        return f"http://t.example/c/AbC{number}"


def decode(body: bytes) -> str:
    assert all(len(line) <= 76 for line in body.split(b"\r\n")), "a line is too long"
    assert body.endswith(b"\r\n")
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert not re.search(rb"(^|\n)\.", body), "a full stop starts a line"
    return quopri.decodestring(body).replace(b"\r\n", b"\n").decode()


def render(
    source: str, contact: dict[str, str] | None = None, kind: Kind = "html", subject: str = "S"
) -> tuple[str, str, str]:
    made = compile_mail(kind, subject, source).render(contact or {}, Addresses())
    return made.subject, decode(made.html), decode(made.text)


def body(source: str, contact: dict[str, str] | None = None) -> str:
    """What stands in the page, without the frame and the pixel."""
    page = render(source, contact)[1]
    return page.partition("<body>")[2].partition("<img src=")[0]


@pytest.mark.parametrize(
    ("source", "contact", "expected"),
    [
        ("<p>{{ contact.a }}</p>", {"a": "<b>&\"'"}, "<p>&lt;b&gt;&amp;&#34;&#39;</p>"),
        ("<p>{{ contact.a }}</p>", {}, "<p></p>"),
        ("<p>{{ contact['First name'] }}</p>", {"First name": "Eva"}, "<p>Eva</p>"),
        ("<p>{{ contact.size }}</p>", {"size": "XL"}, "<p>XL</p>"),
        ("<p>{% if contact.size == 'XL' %}large{% endif %}</p>", {"size": "XL"}, "<p>large</p>"),
        ('<p>{{ contact.a | default: "du & ich" }}</p>', {"a": ""}, "<p>du &amp; ich</p>"),
        ('<p>{{ contact.a | default: "x" }}</p>', {"a": "y"}, "<p>y</p>"),
        ("<p>{{ contact.a | upcase }}</p>", {"a": "jörg<"}, "<p>JÖRG&lt;</p>"),
        ("<p>{{ contact.a | escape }}</p>", {"a": "A&B"}, "<p>A&amp;B</p>"),
        ("<p>{{- contact.a -}} </p>", {"a": "x"}, "<p>x</p>"),
        ("{% if contact.a %}<p>A</p>{% else %}<p>B</p>{% endif %}", {"a": "1"}, "<p>A</p>"),
        ("{% if contact.a %}<p>A</p>{% else %}<p>B</p>{% endif %}", {}, "<p>B</p>"),
        ("{% assign n = contact.a | upcase %}<p>{{ n }}</p>", {"a": "<x>"}, "<p>&lt;X&gt;</p>"),
        ("{% for i in (1..3) %}{{ i }}{% endfor %}", {}, "123"),
        ("{% comment %}{{ nonsense | nope }}{% endcomment %}<p>x</p>", {}, "<p>x</p>"),
        ("<p>100% {{ contact.a }} %s %b</p>", {"a": "5%"}, "<p>100% 5% %s %b</p>"),
        ("<p>{{ contact.a }}</p>", {"a": "{{ contact.b }}{% if %}"}, "<p>{{ contact.b }}{% if %}</p>"),
        ('<p title="{{ contact.a }}">x</p>', {"a": '" onclick="x'}, '<p title="&#34; onclick=&#34;x">x</p>'),
        ("<p title={{ contact.a }}>x</p>", {"a": "a b"}, '<p title="a b">x</p>'),
        (
            '<p style="color: {{ contact.a }}">x</p>',
            {"a": "red;background:url(//e)"},
            '<p style="color: redbackgroundurle">x</p>',
        ),
        ("zq0qz <p>{{ contact.a }}</p>", {"a": "x"}, "zq0qz <p>x</p>"),
        ("<p>&lt;i&gt; {{ contact.a }}</p>", {"a": "x"}, "<p>&lt;i&gt; x</p>"),
    ],
)
def test_a_value_shows_as_it_is_and_never_as_markup(source: str, contact: dict[str, str], expected: str) -> None:
    assert body(source, contact).strip() == expected


@pytest.mark.parametrize(
    ("href", "value", "expected"),
    [
        ("{{ contact.a }}", "javascript:alert(1)", "#"),
        ("{{ contact.a }}", " \tJaVaScRiPt:alert(1)", "#"),
        ("{{ contact.a }}", "data:text/html,x", "#"),
        ("{{ contact.a }}", "", "#"),
        ("{{ contact.a }}", "https://a.example/ö?x=1&y", "https://a.example/%C3%B6?x=1&amp;y"),
        ("{{ contact.a }}", "mailto:a@b.example", "mailto:a@b.example"),
        ("java{{ contact.a }}", "script:alert(1)", "javascript%3Aalert%281%29"),
        ("{{ contact.b }}{{ contact.a }}", "javascript:x", "##"),
        ("https://a.example/?n={{ contact.a }}", "x&y=1#z", "https://a.example/?n=x%26y%3D1%23z"),
        ("https://a.example{{ contact.a }}", "@evil.example", "https://a.example%40evil.example"),
        ("{% if contact.a %}{{ contact.a }}{% endif %}", "vbscript:x", "#"),
        ("{{ contact.a | append: '' }}", "javascript:x", "#"),
    ],
)
def test_a_value_cannot_turn_a_link_into_a_script(href: str, value: str, expected: str) -> None:
    page = body(f'<a href="{href}">x</a>', {"a": value})
    assert page == f'<a href="{expected}">x</a>'


def test_constant_links_are_numbered_once_each_and_others_stay() -> None:
    source = """<a href="https://a.example/?x=1&amp;y=2">1</a> <a href='HTTP://b.example'>2</a>
    <a href="https://a.example/?x=1&y=2">3</a> <a href="mailto:a@b.example">4</a> <a href="tel:+49">5</a>
    <a href="#top">6</a> <a href="https://c.example/{{ contact.id }}">7</a> <a href="{{ unsubscribe_url }}">8</a> <img src="https://d.example/x.png">"""
    program = compile_mail("html", "S", source)
    assert program.links == ("https://a.example/?x=1&y=2", "HTTP://b.example")
    html = decode(program.render({"id": "9"}, Addresses()).html)
    targets = re.findall(r'href="([^"]*)"', html)
    assert targets == [
        "http://t.example/c/AbC1", "http://t.example/c/AbC2", "http://t.example/c/AbC1", "mailto:a@b.example",
        "tel:+49", "#top", "https://c.example/9", "http://t.example/u/AbC?a=1&amp;b",
    ]  # fmt: skip
    assert 'src="https://d.example/x.png"' in html
    assert html.rstrip().endswith('<img src="http://t.example/o/AbC" width="1" height="1" alt=""></body></html>')


def test_links_inside_blocks_are_tracked_too() -> None:
    source = '{% for i in (1..2) %}<a href="https://a.example/">{{ i }}</a>{% endfor %}'
    assert body(source) == "".join(f'<a href="http://t.example/c/AbC1">{i}</a>' for i in (1, 2))


def test_what_a_template_uses_is_known() -> None:
    program = compile_mail("html", "{{ contact.s }}", "{{ contact.a }}{% if contact['b c'] %}x{% endif %}")
    assert program.fields == {"s", "a", "b c"}
    assert not program.has_unsubscribe
    assert compile_mail("html", "S", '<a href="{{unsubscribe_url}}">x</a>').has_unsubscribe
    assert not compile_mail("html", "S", "<!-- {{ unsubscribe_url }} -->").has_unsubscribe


def test_markdown_gets_a_footer_with_the_way_out_unless_it_has_one() -> None:
    for source in ("Hello", "Hello\n\n[Out]({{ unsubscribe_url }})"):
        program = compile_mail("markdown", "S", source)
        assert program.has_unsubscribe
        made = program.render({}, Addresses())
        assert decode(made.html).count('href="http://t.example/u/AbC?a=1&amp;b"') == 1
        assert decode(made.text).count("http://t.example/u/AbC?a=1&b") == 1


def test_a_subject_is_one_line_whatever_a_value_holds() -> None:
    program = compile_mail("html", "Hi  {{ contact.a }}!", "x")
    made = program.render({"a": "Eva\r\nBcc: x@y.example\x00\x1b \u2028 <b>"}, Addresses())
    assert made.subject == "Hi Eva Bcc: x@y.example <b>!"


def test_the_text_part_can_be_read() -> None:
    source = """# Grüß Gott {{ contact.name }}

Read [the menu](https://a.example/menu) or <https://a.example/menu>.

{% if contact.vip %}
You are a **regular**.
{% endif %}

- one
- two
  - inner

3. three
4. four

> quoted

| beer | price |
|------|------:|
| Hell | {{ contact.price }} |

![The brewery](https://a.example/b.png)

---

    code  stays
"""
    _, _, text = render(source, {"name": "Jörg & Eva", "price": "4 < 5", "vip": "x"}, kind="markdown")
    assert (
        text
        == """Grüß Gott Jörg & Eva

Read the menu (http://t.example/c/AbC1) or http://t.example/c/AbC1.

You are a regular.

- one
- two
  - inner

3. three
4. four

> quoted

beer | price
Hell | 4 < 5

The brewery

------------------------

code  stays

You get this mail because you are on one of our lists.
Unsubscribe (http://t.example/u/AbC?a=1&b): one click, and you get no more of them.
"""
    )


def test_the_text_part_leaves_out_what_nobody_sees() -> None:
    source = """<style>p{color:red}</style><div style="display:none">preheader &zwnj; {{ contact.a }}<br></div>
    <!--[if mso]><p>outlook</p><![endif]--><p>seen</p><a href="https://a.example/"><img src="x.png" alt="Shop"></a>"""
    assert render(source, {"a": "hidden"})[2] == "seen\n\nShop (http://t.example/c/AbC1)\n"


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{{ contact.x", 2, "never closed"),
        ("a\n\n{% if contact.x %}b", 3, "{% if %} is never closed"),
        ("a\n{% endif %}", 2, "closes nothing"),
        ("{% if contact.x %}\n{% for i in (1..2) %}\n{% endif %}", 3, "{% endfor %} is expected"),
        ("\n\n{{ contact.x | shout }}", 3, "no filter “shout”"),
        ("\n{% include 'x' %}", 2, "no tag {% include %}"),
        ("\n{% render 'x' %}", 2, "no tag"),
        ("\n{% raw %}x{% endraw %}", 2, "no tag"),
        ("\n{{ name }}", 2, "contact.name"),
        ("\n{{ contact }}", 2, "which field"),
        ("\n{{ contact[contact.x] }}", 2, "which field"),
        ("\n{{ }}", 2, "missing"),
        ("a\n{% if %}x{% endif %}", 2, "missing"),
        ("a\n{% if contact.x == %}x{% endif %}", 2, "missing"),
        ("a\n{{ contact. }}", 2, "name is missing"),
        ("\n{{ a b }}", 2, "Liquid"),
        ("{% break %}", 0, "inside {% for %}"),
        ("{% assign contact = 1 %}", 0, "taken"),
        ("\n{% for i in (1..100000000) %}x{% endfor %}", 2, "10,000"),
        ("\n{% for i in (1..contact.n) %}x{% endfor %}", 2, "must be numbers"),
        ("{% for i in (1..999) %}{% for j in (1..999) %}x{% endfor %}{% endfor %}", 0, "10,000 times"),
        ("a\n<p {{ contact.x }}>b</p>", 2, "attribute's value"),
        ("a\n<p {% if contact.x %}class='a'{% endif %}>b</p>", 2, "attribute's value"),
        ('a\n<p onclick="{{ contact.x }}">b</p>', 2, "onclick"),
        ("<style>\np { color: {{ contact.x }} }</style>", 2, "<style>"),
        ("<script>\n{{ contact.x }}</script>", 2, "<script>"),
        ("a\n<a href='{{ contact.x }}>b</a>", 2, "quote"),
        ("<p>" + "<div>" * 300, 1, "nested deeper"),
        ("{% if contact.a %}" * 40 + "{% endif %}" * 40, 1, "30 deep"),
        ("{% if " + "contact.a and " * 5000 + "contact.a %}x{% endif %}", 1, "nested too deeply"),
        ("x" * 1_000_001, 0, "longer than"),
        ("{{ 'x' | divided_by: 0 }}", 0, "divide"),
        ("{% assign a = 'x' %}" + "{% assign a = a | append: a %}" * 40 + "{{ a }}", 0, "too"),
        ("{{ 'aaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaa'" * 12 + " }}", 0, "too long"),
        ("{{ 'now' | date: '%999999999d' }}", 0, "date"),
    ],
)
def test_an_error_names_the_line_and_says_what_is_wrong(source: str, line: int, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_mail("html", "S", source)
    assert words in caught.value.message
    assert caught.value.line == line


def test_an_error_in_the_subject_says_so() -> None:
    with pytest.raises(TemplateError, match=r"In the subject: There is no filter “nope”") as caught:
        compile_mail("html", "{{ contact.a | nope }}", "x")
    assert caught.value.field == "subject"
    with pytest.raises(TemplateError, match="subject is empty"):
        compile_mail("html", "  ", "x")


def test_markdown_errors_name_the_line_of_the_markdown() -> None:
    with pytest.raises(TemplateError) as caught:
        compile_mail("markdown", "S", "# A\n\ntext\n\n{{ contact.a | nope }}\n")
    assert caught.value.line == 5


def test_a_contact_whose_values_do_not_fit_is_an_error_of_that_mail_alone() -> None:
    source = "{% assign w = contact.a | split: ' ' %}{% for x in w %}{{ x }}{% endfor %}"
    program = compile_mail("html", "S", source)
    assert "ab" in decode(program.render({"a": "a b"}, Addresses()).html)
    with pytest.raises(RenderError):
        program.render({"a": "a " * 10_001}, Addresses())


def test_styles_are_inlined_and_media_queries_stay() -> None:
    source = """<html><head><style>p { color: red } @media (max-width: 9px) { p { color: blue } }</style></head>
    <body><p style="margin:0;;junk">x</p><p style="margin: {{ contact.m }}px">y</p></body></html>"""
    page = render(source, {"m": "4"})[1]
    assert re.search(r'<p style="color: red;margin: ?0;?">x</p>', page)
    assert re.search(r'<p style="color: red;margin: 4px">y</p>', page)
    assert "@media (max-width: 9px)" in page


def test_conditional_comments_for_outlook_survive() -> None:
    source = (
        "<!--[if mso]><table><tr><td><![endif]--><p>x</p><![if !mso]><i>y</i><![endif]>"
        "<!--[if !mso]><!--><b>z</b><!--<![endif]-->"
    )
    assert body(source) == source


def test_nothing_is_loaded_from_disk_or_network() -> None:
    page = body(
        '<link rel="stylesheet" href="/etc/passwd"><link rel="stylesheet" href="http://192.0.2.1/x.css"><p>x</p>'
    )
    assert "root:" not in page


def test_liquid_stays_where_it_stood_in_tables() -> None:
    source = "<table>{% for i in (1..2) %}<tr><td>{{ i }}</td></tr>{% endfor %}</table>"
    page = body(source)
    assert page == "<table><tbody><tr><td>1</td></tr><tr><td>2</td></tr></tbody></table>"


def test_the_corpus_mail_keeps_its_structure() -> None:
    """A well-known responsive mail: same elements, same classes, styles inlined."""
    path = CORPORA / "leemunroe-email.html"
    source = path.read_text() if path.exists() else (
        '<html><head><style>.b a{color:red}</style></head><body><table class="b"><tbody><tr><td>'
        '<a href="http://htmlemail.io">Call To Action</a></td></tr></tbody></table></body></html>'
    )  # fmt: skip
    page = preview("html", "S", source, {}).html
    elements = r"<(table|tr|td|p|a|span|div|br)\b"
    assert re.findall(elements, page) == re.findall(elements, source)
    assert re.findall(r'class="([^"]*)"', page.partition("<body")[2]) == re.findall(
        r'class="([^"]*)"', source.partition("<body")[2]
    )
    assert "Call To Action (http://htmlemail.io)" in preview("html", "S", source, {}).text


def test_a_preview_tracks_nothing() -> None:
    seen = preview("html", "Hi {{ contact.a }}", '<a href="https://a.example/?x&y">x</a>{{ contact.a }}', {"a": "<"})
    assert seen.subject == "Hi <"
    assert '<a href="https://a.example/?x&amp;y">x</a>&lt;</body>' in seen.html
    assert seen.text == "x (https://a.example/?x&y)<\n"


def test_ten_thousand_slots_compile_and_render() -> None:
    source = "".join(f"<p>{{{{ contact.f{n} }}}}</p>" for n in range(10_000))
    began = time.perf_counter()
    program = compile_mail("html", "S", source)
    html = decode(program.render({f"f{n}": str(n) for n in range(10_000)}, Addresses()).html)
    assert html.count("<p>") == 10_000
    assert "<p>9999</p>" in html
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "source",
    [
        "{{" * 300_000,
        "{% comment %}" + "{{" * 300_000 + "{% endcomment %}",
        "<a" + " " * 500_000 + ">",
        "<a " + "=" * 300_000,
        "<" * 300_000,
        "<!--" * 200_000,
        "{{ contact.a " + " " * 500_000 + "}}",
        "<title>" * 100_000,
        "<table>" + " " * 300_000,
        "<a href='https://a.example/'>" * 20_000,
    ],
    ids=range(10),
)
def test_a_source_made_to_be_slow_is_not(source: str) -> None:
    began = time.process_time()
    with contextlib.suppress(TemplateError):
        compile_mail("html", "S", source)
    assert time.process_time() - began < 10


def test_hostile_strings_come_out_as_they_went_in() -> None:
    path = CORPORA / "strings" / "blns.json"
    strings = (
        json.loads(path.read_text())
        if path.exists()
        else ["<script>alert(1)</script>", "‮test", "%x%n", "{{7*7}}", "Ω≈ç√"]
    )
    program = compile_mail(
        "html", "{{ contact.a }}", '<p>{{ contact.a }}</p><a href="{{ contact.a }}" title="{{ contact.a }}">x</a>'
    )
    for string in strings:
        made = program.render({"a": string}, Addresses())
        page = decode(made.html)
        assert page.count("<") == page.count(">") == 13, string
        assert not re.search(r'href="(?!#|https?:|mailto:|tel:)', page), string
        assert "\n" not in made.subject


def test_any_source_compiles_or_names_what_is_wrong() -> None:
    path = CORPORA / "strings" / "blns.json"
    strings = json.loads(path.read_text()) if path.exists() else ["{% %}", "<![CDATA[", "<!--", "</body>", "\x00"]
    for string in [*strings, *(s + "{{ contact.a }}" for s in strings), *(f'<a href="{s}">' for s in strings)]:
        for kind in ("markdown", "html"):
            try:
                compile_mail(kind, "S", string).render({"a": "x"}, Addresses())
            except TemplateError as fault:
                assert fault.message  # noqa: PT017 - either is right; a crash is not


TEXTS = st.text(max_size=300) | st.text("é.= \t\r\nF{}%<&", max_size=300) | st.from_regex(r"\A(From |\.| )*\Z")


@given(TEXTS, TEXTS)
def test_quoted_printable_pieces_join_to_what_they_were(first: str, second: str) -> None:
    def plain(text: str) -> str:
        return text.replace("\r", "")

    joined = encode(plain(first)) + encode(plain(second)) + encode_last("")
    want = (plain(first) + plain(second) + "\n").encode("utf-8", "replace").decode()
    assert decode(joined) == want


SOURCE = """<html><body><h1>Grüße, {{ contact.a | default: "Freund" }}!</h1>
<p>.{{ contact.b }}. From {{ contact.a | upcase }}</p>
{% if contact.b %}<p title="{{ contact.b }}">{{ contact.b }}</p>{% endif %}
<a href="https://a.example/{{ contact.a }}">link</a> <a href="https://b.example/?x=1&amp;y">b</a>
</body></html>"""
PROGRAM = compile_mail("html", "{{ contact.a }} x", SOURCE)


class Untracked:
    open = ""
    unsubscribe = ""

    def click(self, number: int) -> str:
        return PROGRAM.links[number - 1]


@given(TEXTS, TEXTS)
def test_what_is_sent_is_what_the_preview_shows(first: str, second: str) -> None:
    contact = {"a": first, "b": second}
    made, seen = PROGRAM.render(contact, Untracked()), preview("html", "{{ contact.a }} x", SOURCE, contact)
    assert made.subject == seen.subject
    assert decode(made.text) == seen.text
    assert decode(made.html).replace('<img src="" width="1" height="1" alt="">', "").rstrip("\n") == seen.html.rstrip(
        "\n"
    )
