-- Thurn in Rspamd: asks `guard` what the recipients want before a mail is judged, tells it the verdict afterwards, and
-- hands it what is about to be refused. The rendered line above this file gives GUARD, BEARER, SIMULATE
-- and FILTERS.

local http = require "rspamd_http"
local logger = require "rspamd_logger"
local lua_util = require "lua_util"
local ucl = require "ucl"
local util = require "rspamd_util"

local LATER = "The server cannot decide right now, please try again"
local HELD = "Refused as spam, and held for the recipient, who can let it through"
local REFUSED = "Refused as spam"
local BLOCKED = "The recipient takes no mail from this sender"
local GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
local OURS = { ["X-Spam-Level"] = 0, ["X-Spam-Score"] = 0, ["X-Spam-Reasons"] = 0, ["X-Spam-Junk-For"] = 0 }

local function post(task, path, body, done, patience)
  local sent = http.request({
    task = task, url = GUARD .. path, body = body, method = "post", timeout = patience or 4.0, mime_type = "application/json",
    headers = { Authorization = "Bearer " .. BEARER }, callback = done,
  })
  if not sent then done("no connection") end
end

local function mail_from(task)
  local from = task:get_from("smtp")
  return from and from[1] and from[1].addr or ""
end

-- The one address that people see. With several, or none, nobody can be allowed by it.
local function header_from(task)
  local from = task:get_from("mime")
  return from and #from == 1 and from[1].addr or ""
end

local function addresses(list)
  local found = {}
  for i, each in ipairs(list or {}) do
    if i > 100 then break end
    found[i] = each.addr
  end
  return found
end

-- What a mail refers to, never what it says: our own Message-IDs in it tell guard that somebody answered a campaign.
local function answered(task)
  local found = {}
  for _, name in ipairs({ "References", "In-Reply-To" }) do
    for id in (task:get_header(name) or ""):sub(-6000):gmatch("<%w+@") do
      if #found < 50 then table.insert(found, id:sub(2, -2)) end
    end
  end
  return found
end

-- RFC 3834, and what lists and absence notices without it carry.
local function by_a_program(task)
  local submitted = (task:get_header("Auto-Submitted") or "no"):lower()
  local precedence = (task:get_header("Precedence") or ""):lower()
  if submitted:sub(1, 2) ~= "no" or mail_from(task) == "" then return true end
  if precedence == "bulk" or precedence == "junk" or precedence == "list" or precedence == "auto_reply" then return true end
  for _, name in ipairs({ "List-Id", "X-Autoreply", "X-Autorespond", "X-Auto-Reply", "X-Failed-Recipients" }) do
    if task:has_header(name) then return true end
  end
  return false
end

local function report(task, full)
  local ip = task:get_ip()
  local said = {
    queue_id = task:get_queue_id() or "", from = mail_from(task), header_from = header_from(task),
    rcpts = addresses(task:get_recipients("smtp")), user = task:get_user() or "",
    ip = ip and ip:is_valid() and tostring(ip) or "",
  }
  if full then
    local score = task:get_metric_score("default")
    said.action = task:get_metric_action("default")
    said.score, said.required = score[1], score[2]
    said.subject = (task:get_subject() or ""):sub(1, 1200)
    said.message_id = (task:get_message_id() or ""):sub(1, 600)
    if said.user == "" and not by_a_program(task) then said.answered = answered(task) end
    said.symbols = {}
    for _, symbol in ipairs(task:get_symbols_all()) do
      local options = {}
      for i, option in ipairs(symbol.options or {}) do
        if i > 6 then break end
        options[i] = tostring(option):sub(1, 200)
      end
      table.insert(said.symbols, { name = symbol.name, score = symbol.score, options = options })
    end
  end
  return ucl.to_format(said, "json-compact")
end

local function sent_by_people(task)
  local user = task:get_user()
  return user ~= nil and user ~= ""
end

-- ---------------------------------------------------------------- what people's filters write

-- Dovecot alone speaks to that door of `mx` (thurn/stack/postfix_forward.py). What came in was judged then. What is sent
-- on for somebody says so; all else is the mailbox's own word, and Dovecot names it as the sender: signed as if its owner
-- had signed in, so only in the name of the mailbox's own domain. Then the sender becomes the empty one, which nobody
-- answers.
local function by_filters(task)
  return tostring(task:get_request_header("MTA-Name") or "") == FILTERS
end

local function own_word(task)
  return by_filters(task) and not task:has_header("X-Sieve-Redirected-From") and mail_from(task) ~= ""
end

rspamd_config:register_symbol({
  name = "THURN_FILTERS", type = "prefilter", flags = "empty,nostat", priority = lua_util.symbols_priorities.top + 1,
  callback = function(task)
    if not by_filters(task) then return end
    if own_word(task) then task:set_user(mail_from(task)) end
    task:set_settings({ symbols_enabled = { "DKIM_SIGNED", "THURN_TELL" } })
  end,
})

-- ---------------------------------------------------------------- before

local function later(task, why)
  logger.errx(task, "guard does not answer: %s", why)
  task:set_pre_result({ action = "soft reject", message = LATER, module = "thurn", priority = 100 })
end

local function ask(task)
  if sent_by_people(task) or by_filters(task) then return end
  post(task, "/spam/ask", report(task, false), function(err, code, body)
    if err or code ~= 200 then return later(task, err or code) end
    local parser = ucl.parser()
    if not parser:parse_string(tostring(body)) then return later(task, "not JSON") end
    local wanted = parser:get_object()
    local settings = { actions = wanted.actions }
    if wanted.machine then settings.symbols_disabled = { "DMARC_CHECK", "GREYLIST_CHECK", "GREYLIST_SAVE" } end
    task:set_settings(settings)
    if type(wanted.memory) == "string" then task:cache_set("thurn_memory", wanted.memory) end
    if wanted.allowed then task:cache_set("thurn_allowed", true) end
    if wanted.junk_for and #wanted.junk_for > 0 then
      task:cache_set("thurn_junk_for", table.concat(wanted.junk_for, " "))
    end
    if wanted.blocked then
      task:insert_result("THURN_BLOCKED", 1.0)
      task:set_pre_result({ action = "reject", message = BLOCKED, module = "thurn", priority = 100 })
    end
  end)
end

local ask_id = rspamd_config:register_symbol({
  name = "THURN_ASK", type = "prefilter", callback = ask, flags = "empty,nostat",
  priority = lua_util.symbols_priorities.top, augmentations = { "timeout=5.0" },
})
rspamd_config:register_symbol({ name = "THURN_BLOCKED", type = "virtual", parent = ask_id, score = 0.0, group = "thurn" })

-- ---------------------------------------------------------------- allowed, if it is really them

local function same_house(one, other)
  return one ~= nil and other ~= nil and one ~= "" and util.get_tld(one:lower()) == util.get_tld(other:lower())
end

-- RFC 7489, 3.1: the domain people see is the one that signed or that may send from this address.
local function aligned(task)
  if task:has_symbol("DMARC_POLICY_ALLOW") then return true end
  if not task:has_symbol("DMARC_NA") then return false end
  local seen = header_from(task):match("@([^@]+)$")
  local signed = task:get_symbol("R_DKIM_ALLOW")
  for _, option in ipairs(signed and signed[1].options or {}) do
    if same_house(seen, tostring(option):match("^([^:]+)")) then return true end
  end
  return task:has_symbol("R_SPF_ALLOW") and same_house(seen, mail_from(task):match("@([^@]+)$"))
end

local function allow(task)
  if not task:cache_get("thurn_allowed") then return end
  if aligned(task) then
    task:insert_result("THURN_ALLOWED", 1.0)
  else
    task:insert_result("THURN_ALLOWED_NOT_PROVEN", 1.0)
  end
end

local allow_id = rspamd_config:register_symbol({
  name = "THURN_ALLOW_CHECK", type = "callback", callback = allow, flags = "empty,nostat",
})
rspamd_config:register_dependency("THURN_ALLOW_CHECK", "DMARC_CHECK")
rspamd_config:register_symbol({
  name = "THURN_ALLOWED", type = "virtual", parent = allow_id, score = -100.0, group = "thurn",
})
rspamd_config:register_symbol({
  name = "THURN_ALLOWED_NOT_PROVEN", type = "virtual", parent = allow_id, score = 0.0, group = "thurn",
})

-- ---------------------------------------------------------------- refused: held first, so that the answer is true

-- `done` is told what to say to its sender; nothing, if nobody knows: then it was put off.
local function keep(task, said, done)
  post(task, "/spam/hold", { said .. "\n", task:get_content() }, function(err, code, body)
    if err or code ~= 200 then return later(task, err or code) end
    local parser = ucl.parser()
    local held = parser:parse_string(tostring(body)) and parser:get_object().held or 0
    done(held > 0 and HELD or REFUSED)
  end, 20.0)
end

local function hold(task)
  if task:get_metric_action("default") ~= "reject" or task:has_symbol("THURN_BLOCKED") then return end
  if task:get_mempool():get_variable("thurn_test_mail") then return end
  if sent_by_people(task) then
    task:append_message(REFUSED, "smtp_message")
    return
  end
  keep(task, report(task, true), function(words) task:append_message(words, "smtp_message") end)
end

rspamd_config:register_symbol({
  name = "THURN_HOLD", type = "postfilter", callback = hold, flags = "empty,nostat,ignore_passthrough",
  priority = lua_util.symbols_priorities.top, augmentations = { "timeout=20.0" },
})

-- Rspamd refuses the test mail of every filter as it reads it, and then asks no rule any more. What is judged before that
-- knows the envelope only, so a few headers are looked for by hand. Rspamd looks into parts of 4 KB at most.
local function is_test(content)
  if content:find(GTUBE, 1, true) then return true end
  for block in content:gmatch("\n\r?\n([%w+/=\r\n]+)") do  -- a part in Base64
    if #block >= #GTUBE and tostring(util.decode_base64(block) or ""):find(GTUBE, 1, true) then return true end
  end
  return false
end

local function test_mail(task)
  if task:get_size() > 64 * 1024 or sent_by_people(task) or by_filters(task) then return end
  local content = tostring(task:get_content())
  if not is_test(content) then return end
  local head = "\n" .. content:sub(1, content:find("\n\r?\n") or -1)
  local said = {
    action = "reject", score = 1000, required = 15, symbols = { { name = "GTUBE", score = 1000, options = {} } },
    queue_id = task:get_queue_id() or "", from = mail_from(task), rcpts = addresses(task:get_recipients("smtp")),
    ip = tostring(task:get_ip() or ""), subject = head:match("\n[Ss]ubject:%s*([^\r\n]*)"),
    header_from = head:match("\n[Ff]rom:[^\r\n]-([^%s<>\"]+@[^%s<>]+)"),
    message_id = head:match("\n[Mm]essage%-[Ii][Dd]:%s*<([^>\r\n]*)>"),
  }
  said = ucl.to_format(said, "json-compact")
  task:get_mempool():set_variable("thurn_test_mail", "yes")  -- the rules below do not say it again
  keep(task, said, function(words)
    task:set_pre_result({ action = "reject", message = words, module = "thurn", priority = 100 })
  end)
  post(task, "/spam/tell", said, function(err, code)
    if err or code ~= 204 then logger.errx(task, "the verdict was not taken: %s", err or code) end
  end)
end

rspamd_config:register_symbol({
  name = "THURN_TEST_MAIL", type = "connfilter", callback = test_mail, flags = "empty,nostat",
  augmentations = { "timeout=20.0" },
})

-- ---------------------------------------------------------------- after

local function headers(task)
  local score = task:get_metric_score("default")[1]
  local weighty = {}
  for _, symbol in ipairs(task:get_symbols_all()) do
    if symbol.score ~= 0 then table.insert(weighty, symbol) end
  end
  table.sort(weighty, function(one, other) return math.abs(one.score) > math.abs(other.score) end)
  local reasons = {}
  for i = 1, math.min(10, #weighty) do
    reasons[i] = string.format("%s=%.1f", weighty[i].name, weighty[i].score)
  end
  local add = {
    ["X-Spam-Score"] = string.format("%.1f", score),
    ["X-Spam-Reasons"] = #reasons > 0 and table.concat(reasons, ", ") or "none",
    ["X-Spam-Junk-For"] = task:cache_get("thurn_junk_for"),
  }
  if score >= 1 then add["X-Spam-Level"] = string.rep("*", math.min(100, math.floor(score))) end
  task:set_milter_reply({ remove_headers = OURS, add_headers = add })
end

local function tell(task)
  if task:get_mempool():get_variable("thurn_test_mail") then return end
  if by_filters(task) then
    if own_word(task) then task:set_milter_reply({ change_from = "<>" }) end
    return
  end
  if not sent_by_people(task) then headers(task) end
  -- Nothing hangs on this one: without it the trace lacks a verdict.
  post(task, "/spam/tell", report(task, true), function(err, code)
    if err or code ~= 204 then logger.errx(task, "the verdict was not taken: %s", err or code) end
  end)
end

rspamd_config:register_symbol({
  name = "THURN_TELL", type = "idempotent", callback = tell, flags = "empty,nostat,explicit_disable,ignore_passthrough",
  augmentations = { "timeout=5.0" },
})

-- ---------------------------------------------------------------- the simulated internet

if SIMULATE then
  -- Nobody out there to be listed or known: how spammy a simulated mail is, it says itself.
  rspamd_config:register_symbol({
    name = "SIMULATED_SPAM", score = 1.0, group = "thurn", one_shot = true,
    callback = function(task)
      local points = tonumber(task:get_header("X-Simulated-Spam") or "")
      return points ~= nil and points > 0 and points <= 50, points
    end,
  })
end
